// Reads jobs from standard input, one per line: METADATA.json, IMAGE and OUTPUT, separated by tabs. Writes what the
// model would get to OUTPUT, and to standard output one line per job: `ok`, or what a user would be told.
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "files.h"
#include "images.h"
#include "metadata.h"
#include "problem.h"

using namespace natdeploy::examples;

namespace {

void run(const std::string& job) {
  std::istringstream words(job);
  std::string document, image, output;
  std::getline(words, document, '\t');
  std::getline(words, image, '\t');
  std::getline(words, output, '\t');
  const std::vector<uint8_t> text = bytes_from_file(document, 1 << 26);
  const std::string json(text.begin(), text.end());
  const bool is_sidecar = document.find(".plan.json") != std::string::npos;
  const Metadata metadata =
      is_sidecar ? sidecar_from_json(json, document).metadata : metadata_from_json(json, document);
  std::vector<float> input((input_bytes(metadata.recipe) + 3) / 4);
  write_input(image_from_file(image), metadata.recipe, input.data());
  std::ofstream file(output, std::ios::binary);
  file.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input_bytes(metadata.recipe)));
}

}  // namespace

int main() {
  std::string job;
  while (std::getline(std::cin, job)) {
    try {
      run(job);
      std::cout << "ok\n";
    } catch (const Problem& problem) {
      std::cout << problem.what() << "\n";
    }
  }
}
