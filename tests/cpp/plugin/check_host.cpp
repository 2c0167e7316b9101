// How the library meets the TensorRT of its process: registering itself, yielding to loadLibrary, logging.
#include <cstdio>
#include <cstdlib>

#include "checks.h"
#include "library.h"
#include "pretended_tensorrt.h"

namespace {

const std::vector<std::string> kBoth{"NeighborhoodAttention", "PackedNeighborhoodAttention"};

void refuse_something() { EXPECT(!create(Node{.heads = 0})); }

}  // namespace

CHECK(it_registers_itself_until_it_is_loaded_as_a_plugin_library) {
  EXPECT(pretended_tensorrt::registered() == kBoth);
  library::set_logger_finder(pretended_tensorrt::logger_finder());  // loadLibrary's first call
  EXPECT(pretended_tensorrt::registered().empty());
  library::set_logger_finder(pretended_tensorrt::logger_finder());
  EXPECT(pretended_tensorrt::registered().empty());
}

CHECK(it_leaves_no_creator_behind) {
  EXPECT(pretended_tensorrt::registered() == kBoth);
  std::atexit([] {  // after dlclose
    std::fflush(nullptr);
    std::_Exit(pretended_tensorrt::registered().empty() ? 0 : 1);
  });
}

CHECK(a_tensorrt_that_nobody_knows_is_left_alone) {
  EXPECT(pretended_tensorrt::registered().empty());
  refuse_something();
  EXPECT(pretended_tensorrt::take_log().empty());  // it went to stderr
}

CHECK(refusals_are_logged_as_errors) {
  refuse_something();
  EXPECT(pretended_tensorrt::take_log() ==
         "1 natdeploy: PackedNeighborhoodAttention: createPlugin: num_heads 0 is not positive\n");
}

CHECK(without_a_logger_refusals_go_to_stderr) {
  for (const auto behaviour : {pretended_tensorrt::Finder::kFindsNone, pretended_tensorrt::Finder::kThrows}) {
    pretended_tensorrt::set_finder(behaviour);
    refuse_something();
    EXPECT(pretended_tensorrt::take_log().empty());
  }
  library::set_logger_finder(nullptr);
  EXPECT(library::creator(true).createPlugin(nullptr, nullptr, nvinfer1::TensorRTPhase::kBUILD) == nullptr);
}

CHECK(long_refusals_are_cut) {
  Fields fields{Node{}};
  for (int i = 0; i < 50; ++i) {
    const std::string name = "unknown" + std::to_string(i);
    fields.set(name, std::vector<int32_t>{1});
  }
  EXPECT(!create(fields, true));
  const std::string log = pretended_tensorrt::take_log();
  EXPECT_IN("'unknown0' is not an attribute of this operator; 'unknown1' is", log);
  EXPECT(log.size() < 1010);
}

CHECK(the_manifest_stays) {
  EXPECT(library::manifest() == library::manifest());
  EXPECT_IN("\"library\": \"natdeploy_trt\"", std::string(library::manifest()));
}
