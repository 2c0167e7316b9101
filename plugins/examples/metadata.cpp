#include "metadata.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>

#include "problem.h"

namespace natdeploy::examples {
namespace {

using nlohmann::json;

constexpr int kNewestSchema = 1;  // of both documents
constexpr int kMostNesting = 64;  // the documents have 5 levels; destroying thousands would need a deep stack

// One value of a document and the path that led to it, which messages name.
class Field {
 public:
  Field(const json& value, std::string path, const std::string& source)
      : value_(&value), path_(std::move(path)), source_(&source) {}

  [[noreturn]] void refuse(const std::string& reason) const {
    throw Problem("'" + *source_ + "' is damaged: " + (path_.empty() ? "the document" : path_) + " " + reason +
                  ". Copy it again, or write it again with natdeploy.");
  }

  bool has(const char* key) const { return value_->is_object() && value_->contains(key); }
  bool is_null() const { return value_->is_null(); }

  Field operator[](const char* key) const {
    const std::string path = path_.empty() ? key : path_ + "." + key;
    if (!value_->is_object()) refuse("is no object");
    const auto found = value_->find(key);
    if (found == value_->end()) Field(*value_, path, *source_).refuse("is missing");
    return {*found, path, *source_};
  }

  std::vector<Field> items() const {
    if (!value_->is_array()) refuse("is no array");
    std::vector<Field> result;
    for (const json& item : *value_) {
      result.emplace_back(item, path_ + "[" + std::to_string(result.size()) + "]", *source_);
    }
    return result;
  }

  int64_t integer(int64_t least, int64_t most) const {
    if (!value_->is_number_integer()) refuse("is no integer");
    const bool huge = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    const int64_t number = huge ? INT64_MAX : value_->get<int64_t>();
    if (number < least || number > most) {
      refuse("is not between " + std::to_string(least) + " and " + std::to_string(most));
    }
    return number;
  }

  double number(double least, double most) const {
    const double number = value_->is_number() ? value_->get<double>() : most + 1;
    if (number < least || number > most) {
      refuse("is no number between " + std::to_string(least) + " and " + std::to_string(most));
    }
    return number;
  }

  bool boolean() const {
    if (!value_->is_boolean()) refuse("is neither true nor false");
    return value_->get<bool>();
  }

  std::string text() const {
    if (!value_->is_string()) refuse("is no string");
    return value_->get<std::string>();
  }

  template <typename Value>
  Value one_of(const std::map<std::string, Value>& choices) const {
    const auto found = choices.find(text());
    if (found == choices.end()) refuse("is '" + text() + "', which this program does not know");
    return found->second;
  }

 private:
  const json* value_;
  std::string path_;
  const std::string* source_;
};

const std::map<std::string, Filter> kFilters = {
    {"nearest", Filter::kNearest}, {"box", Filter::kBox},         {"bilinear", Filter::kBilinear},
    {"hamming", Filter::kHamming}, {"bicubic", Filter::kBicubic}, {"lanczos", Filter::kLanczos},
};
const std::map<std::string, InputFormat> kInputFormats = {
    {"float32-nchw", InputFormat::kFloat32Nchw},
    {"uint8-nhwc", InputFormat::kUint8Nhwc},
};

json parsed(const std::string& text, const std::string& source) {
  const auto bounded = [&source](int depth, json::parse_event_t, json&) {
    if (depth > kMostNesting) throw Problem("'" + source + "' is damaged: it nests too deeply.");
    return true;
  };
  try {
    return json::parse(text, bounded);
  } catch (const json::parse_error& error) {  // its own words may repeat bytes that are no UTF-8
    throw Problem("'" + source + "' is damaged: it is no JSON from byte " + std::to_string(error.byte) +
                  " on. Copy it again, or write it again with natdeploy.");
  } catch (const json::exception&) {
    throw Problem("'" + source + "' is damaged: a number in it is too large.");
  }
}

void check_schema(const Field& document, const std::string& source) {
  const int64_t schema = document["schema"].integer(1, INT64_MAX);
  if (schema > kNewestSchema) {
    throw Problem("'" + source + "' is of version " + std::to_string(schema) + ", and this program reads version " +
                  std::to_string(kNewestSchema) + ": take the program of the natdeploy that wrote it.");
  }
}

int pixels(const Field& field) { return static_cast<int>(field.integer(1, 16384)); }

std::vector<double> moments(const Field& field, size_t channels, double least) {
  std::vector<double> values;
  for (const Field& item : field.items()) values.push_back(item.number(least, 1e6));
  if (values.size() != channels) {
    field.refuse("has not one number for each of " + std::to_string(channels) + " channels");
  }
  return values;
}

Recipe recipe_from(const Field& field) {
  Recipe recipe;
  const std::vector<Field> crop = field["crop_size"].items();
  if (crop.size() != 2) field["crop_size"].refuse("has not two numbers");
  recipe.crop_height = pixels(crop[0]);
  recipe.crop_width = pixels(crop[1]);
  if (int64_t{recipe.crop_height} * recipe.crop_width > kMostPixels) {
    field["crop_size"].refuse("has more than " + std::to_string(kMostPixels) + " pixels");
  }
  if (!field["resize_edge"].is_null()) recipe.resize_edge = pixels(field["resize_edge"]);
  recipe.interpolation = field["interpolation"].one_of(kFilters);
  recipe.resize = field["resize"].boolean();
  recipe.center_crop = field["center_crop"].boolean();
  if (field["channel_order"].is_null()) {
    throw Problem("This model takes arrays, not images: images cannot give its channels.");
  }
  recipe.channels = field["channel_order"].one_of<int>({{"RGB", 3}, {"L", 1}});
  recipe.value_range = field["value_range"].number(0, 1e6);
  recipe.mean = moments(field["mean"], static_cast<size_t>(recipe.channels), -1e6);
  recipe.std = moments(field["std"], static_cast<size_t>(recipe.channels), 1e-12);
  if (!field["antialias"].boolean()) field["antialias"].refuse("is false, which this program does not know");
  if (field.has("input_format")) recipe.input_format = field["input_format"].one_of(kInputFormats);
  return recipe;
}

Metadata metadata_from(const Field& document, const std::string& source) {
  if (!document.has("schema")) {
    throw Problem("'" + source + "' has no natdeploy metadata, so its preprocessing and labels are unknown: make the " +
                  "ONNX file with `natdeploy export`.");
  }
  check_schema(document, source);
  Metadata metadata;
  metadata.recipe = recipe_from(document["preprocessing"]);
  for (const Field& label : document["labels"].items()) metadata.labels.push_back(label.text());
  if (!document["sizes"]["batch"].is_null()) {
    metadata.batch = static_cast<int>(document["sizes"]["batch"].integer(1, INT32_MAX));
  }
  const std::vector<Field> outputs = document["outputs"].items();
  if (std::none_of(outputs.begin(), outputs.end(), [](const Field& name) { return name.text() == "logits"; })) {
    throw Problem("'" + source + "' does not classify: it has no output 'logits'.");
  }
  return metadata;
}

Engine engine_from(const Field& field, const std::string& source) {
  check_schema(field, source);
  Engine engine;
  if (field["plan"].is_null()) field["plan"].refuse("is null, as after a dry run");
  engine.plan_bytes = static_cast<uint64_t>(field["plan"]["bytes"].integer(1, INT64_MAX));
  engine.backend = field["backend"].text();
  engine.version = field["version"].text();
  engine.version_compatible = field["options"]["version_compatible"].boolean();
  engine.machine = field["platform"]["machine"].text();
  if (!field["gpu"].is_null()) {
    engine.gpu = field["gpu"]["name"].text();
    engine.gpu_capability = field["gpu"]["compute_capability"].text();
    engine.other_gpus = field["options"]["hardware_compatibility"].text() == "AMPERE_PLUS";
  }
  engine.plugin_needed = !field["plugin"].is_null();
  engine.plugin_embedded = engine.plugin_needed && field["plugin"]["embedded"].boolean();
  return engine;
}

}  // namespace

Metadata metadata_from_json(const std::string& text, const std::string& source) {
  const json document = parsed(text, source);
  return metadata_from(Field(document, "", source), source);
}

Sidecar sidecar_from_json(const std::string& text, const std::string& source) {
  const json document = parsed(text, source);
  const Field root(document, "", source);
  // The engine first: whoever holds a plan of another TensorRT wants to know that.
  Engine engine = engine_from(root["engine"], source);
  return {metadata_from(root, source), std::move(engine)};
}

}  // namespace natdeploy::examples
