// Drives a built plugin library as TensorRT would, without TensorRT and without a GPU.
//
//   drive_plugin LIBRARY CHECK       runs one check
//   drive_plugin LIBRARY --list      names them all
//
// PRETENDED_TENSORRT_MAJOR (default 11) is which TensorRT the program plays.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "checks.h"
#include "library.h"
#include "pretended_tensorrt.h"

namespace checks {
namespace {
int failures = 0;
}

std::map<std::string, void (*)()>& all() {
  static std::map<std::string, void (*)()> checks;
  return checks;
}

void expect(bool holds, const char* condition, const char* file, int line, const std::string& detail) {
  if (holds) return;
  ++failures;
  const char* slash = std::strrchr(file, '/');
  std::fprintf(stderr, "%s:%d: not so: %s%s%s\n", slash == nullptr ? file : slash + 1, line, condition,
               detail.empty() ? "" : "; the text is: ", detail.c_str());
}

}  // namespace checks

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: drive_plugin LIBRARY CHECK|--list\n");
    return 2;
  }
  if (std::strcmp(arguments[2], "--list") == 0) {
    for (const auto& [name, body] : checks::all()) std::puts(name.c_str());
    return 0;
  }
  const auto found = checks::all().find(arguments[2]);
  if (found == checks::all().end()) {
    std::fprintf(stderr, "no check is called %s\n", arguments[2]);
    return 2;
  }
  if (!library::open(arguments[1])) return 2;
  found->second();
  library::close();
  if (checks::failures == 0) std::puts("all holds");
  return checks::failures == 0 ? 0 : 1;
}
