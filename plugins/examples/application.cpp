#include "application.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "images.h"
#include "problem.h"

namespace natdeploy::examples {
namespace {

// A command line that is wrong: status 2.
class WrongUse : public Problem {
 public:
  using Problem::Problem;
};

int whole_number(const std::string& option, const std::string& text, int most) {
  char* end = nullptr;
  const long number = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || number < 1 || number > most) {
    throw WrongUse(option + " is '" + text + "': it must be a number from 1 to " + std::to_string(most) + ".");
  }
  return static_cast<int>(number);
}

Options options_from(const std::vector<std::string>& words, const std::string& usage) {
  Options options;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.rfind("--", 0) != 0) {
      (options.artifact.empty() ? options.artifact : options.images.emplace_back()) = word;
      continue;
    }
    const bool known = word == "--top" || word == "--repeat" || word == "--plugin" || word == "--allow-host-code";
    if (!known || usage.find(word) == std::string::npos) throw WrongUse("There is no option " + word + ".");
    if (word == "--allow-host-code") {
      options.allow_host_code = true;
      continue;
    }
    if (++i == words.size()) throw WrongUse(word + " needs a value.");
    if (word == "--top") options.top = whole_number(word, words[i], 1'000'000);
    if (word == "--repeat") options.repeat = whole_number(word, words[i], 1'000'000);
    if (word == "--plugin") options.plugin = words[i];
  }
  if (options.images.empty()) throw WrongUse("An artifact and at least one image are needed.");
  return options;
}

// A label as it can be shown: no line ends, nothing that a terminal would obey.
std::string printable(std::string text) {
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  for (size_t i = 0; i + 1 < text.size(); ++i) {  // U+0080 to U+009F in UTF-8, U+009B begins commands
    const auto second = static_cast<unsigned char>(text[i + 1]);
    if (text[i] == '\xC2' && second >= 0x80 && second < 0xA0) text.replace(i, 2, 2, ' ');
  }
  return text;
}

void print_guesses(const std::string& image, const std::vector<Guess>& guesses,
                   const std::vector<std::string>& labels) {
  std::printf("%s\n", image.c_str());
  for (const Guess& guess : guesses) {
    const std::string fallback = "class " + std::to_string(guess.index);
    const std::string& label = guess.index < labels.size() ? labels[guess.index] : fallback;
    std::printf("%8zu  %.6f  %s\n", guess.index, guess.probability, printable(label).c_str());
  }
}

}  // namespace

int run_program(int argc, char** argv, const std::string& usage, const std::function<void(const Options&)>& classify) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (std::find(words.begin(), words.end(), "--help") != words.end()) {
    std::printf("%s\n\n  --top N      guesses per image (5)\n  --repeat N   timed runs (50)\n", usage.c_str());
    return 0;
  }
  try {
    classify(options_from(words, usage));
    return 0;
  } catch (const WrongUse& wrong) {
    std::fprintf(stderr, "error: %s\n%s\n", wrong.what(), usage.c_str());
    return 2;
  } catch (const Problem& problem) {
    std::fprintf(stderr, "error: %s\n", printable(problem.what()).c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "error: The memory of this machine is not enough.\n");
  } catch (const std::exception& error) {  // of a library
    std::fprintf(stderr, "error: %s\n", printable(error.what()).c_str());
  }
  return 1;
}

std::vector<Guess> best_guesses(const float* logits, size_t classes, size_t most) {
  const bool finite = std::all_of(logits, logits + classes, [](float logit) { return std::isfinite(logit); });
  if (classes == 0 || !finite) throw Problem("The model gives no usable logits: NaN, infinity or none at all.");
  const double largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  for (size_t i = 0; i < classes; ++i) sum += std::exp(logits[i] - largest);
  std::vector<Guess> guesses(classes);
  for (size_t i = 0; i < classes; ++i) guesses[i] = {i, std::exp(logits[i] - largest) / sum};
  std::stable_sort(guesses.begin(), guesses.end(),
                   [](const Guess& a, const Guess& b) { return a.probability > b.probability; });
  guesses.resize(std::min(most, classes));
  return guesses;
}

void classify_batches(const Options& options, const Metadata& metadata, const Batches& batches) {
  const size_t bytes = input_bytes(metadata.recipe);
  for (size_t first = 0; first < options.images.size(); first += batches.batch) {
    const size_t count = std::min(batches.batch, options.images.size() - first);
    for (size_t i = 0; i < batches.batch; ++i) {
      char* const input = static_cast<char*>(batches.input) + i * bytes;
      if (i < count) {
        write_input(image_from_file(options.images[first + i]), metadata.recipe, input);
      } else {
        std::memcpy(input, input - bytes, bytes);
      }
    }
    batches.run();
    for (size_t i = 0; i < count; ++i) {
      const float* logits = batches.logits + i * batches.classes;
      const std::vector<Guess> guesses = best_guesses(logits, batches.classes, static_cast<size_t>(options.top));
      print_guesses(options.images[first + i], guesses, metadata.labels);
    }
    if (first == 0) batches.timed();
  }
}

void print_latency(std::vector<double> milliseconds, size_t batch, const std::string& clock) {
  std::sort(milliseconds.begin(), milliseconds.end());
  const size_t count = milliseconds.size();
  const double median = (milliseconds[(count - 1) / 2] + milliseconds[count / 2]) / 2;
  const double slow = milliseconds[std::min(count - 1, count * 95 / 100)];
  std::printf("latency %.3f ms, 95 %% below %.3f ms: %zu runs of batch %zu by %s\n", median, slow, count, batch,
              clock.c_str());
}

}  // namespace natdeploy::examples
