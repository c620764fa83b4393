#include "impl.h"
