// operator new of this program, which the library takes too, and which fails on demand.
#pragma once

#include <cstdint>

// Allocations of this thread until they fail; negative for never.
extern thread_local int64_t allocations_left;
