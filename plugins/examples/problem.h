// What a user can mend: the text is a whole sentence, and main() prints it and exits with status 1.
#pragma once

#include <stdexcept>
#include <string>

namespace natdeploy::examples {

class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace natdeploy::examples
