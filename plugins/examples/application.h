// What the two programs share: the command line, guesses from logits, and latencies.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "metadata.h"

namespace natdeploy::examples {

struct Options {
  std::string artifact;  // ONNX file or plan
  std::string plugin;    // the plugin library; empty where none is named
  std::vector<std::string> images;
  int top = 5;
  int repeat = 50;               // timed runs
  bool allow_host_code = false;  // of a plan that brings code for this machine
};

// Calls `classify` with what the command line says. Gives the exit status: 0, or 1 after a Problem, which is printed to
// stderr, or 2 where the command line is wrong. `usage` is the first line of --help; --plugin and --allow-host-code
// exist where it names them.
int run_program(int argc, char** argv, const std::string& usage, const std::function<void(const Options&)>& classify);

// Images are run `batch` at a time; the last images are followed by copies of the very last one. Calls `run` with the
// pictures of one batch in the form that the recipe wants, and prints the guesses of the logits that it gives. Pictures
// and logits stay where they are from call to call. `timed` is called once, after the first batch, to time and tell.
struct Batches {
  size_t batch = 1;
  size_t classes = 0;
  void* input = nullptr;          // batch times input_bytes(recipe)
  const float* logits = nullptr;  // [batch, classes]
  std::function<void()> run;
  std::function<void()> timed;
};
void classify_batches(const Options& options, const Metadata& metadata, const Batches& batches);

struct Guess {
  size_t index = 0;
  double probability = 0;  // softmax of the logits
};

// The best guesses, best first; of equals the one with the smaller index. Refuses logits that are not finite.
std::vector<Guess> best_guesses(const float* logits, size_t classes, size_t most);

// One line: median and 95th percentile, in milliseconds, of what was timed. `clock` says by what.
void print_latency(std::vector<double> milliseconds, size_t batch, const std::string& clock);

}  // namespace natdeploy::examples
