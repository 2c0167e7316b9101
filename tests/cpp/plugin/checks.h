// A check is a function that the program runs by name, in a process of its own.
#pragma once

#include <map>
#include <string>

namespace checks {

// By name.
std::map<std::string, void (*)()>& all();

struct Registration {
  Registration(const char* name, void (*body)()) { all()[name] = body; }
};

// Counts and reports what does not hold; the check goes on.
void expect(bool holds, const char* condition, const char* file, int line, const std::string& detail = "");

inline void expect_in(const std::string& part, const std::string& text, const char* file, int line) {
  expect(text.find(part) != std::string::npos, ("the text has '" + part + "'").c_str(), file, line, text);
}

}  // namespace checks

#define CHECK(name)                                               \
  static void name();                                             \
  static const checks::Registration registered_##name(#name, name); \
  static void name()

#define EXPECT(condition) checks::expect(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define EXPECT_IN(part, text) checks::expect_in(part, text, __FILE__, __LINE__)
