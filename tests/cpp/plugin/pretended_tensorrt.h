// What a plugin library finds of TensorRT in a process: the plugin registry and the logger, laid out as the major
// version that PRETENDED_TENSORRT_MAJOR names has them. 10 is laid out by hand here, 11 by TensorRT's own headers.
#pragma once

#include <string>
#include <vector>

namespace pretended_tensorrt {

int major();

// To give to setLoggerFinder. Of an unknown major version it is an object that ends the process when it is called.
void* logger_finder();

// What the finder does from now on.
enum class Finder { kFinds, kFindsNone, kThrows };
void set_finder(Finder behaviour);

// What was logged since the last call, one line each: "1 natdeploy: ...", 1 being the severity.
std::string take_log();

// Names of the creators in the registry.
std::vector<std::string> registered();

}  // namespace pretended_tensorrt
