/* version.h: what this is. */
#ifndef TIDEMILL_BASE_VERSION_H
#define TIDEMILL_BASE_VERSION_H

#define TIDEMILL_VERSION "0.1.0"

#endif
