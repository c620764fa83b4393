// What a backend could not build of ours on this machine: a library that its compiler refuses, a kernel that cannot be
// made. The backend goes on without it and refuses the ops that need it; what is noted here tells the user why
// (ffi/tq_process.cpp).
#pragma once

#ifdef __cplusplus
#include <string>
#include <vector>

// In the order in which they were noted. `backend`: the name of its registration, as in tq_devices.
std::vector<std::string> tq_faults(const char * backend);

// `part` is noted, and warned of in the log, once. `error`: the compiler's text, of which the first lines are kept; may be
// null. From any thread.
void tq_fault_note(const char * backend, const std::string & part, const char * error);
#endif
