/* url.h: where a Redis is, and as whom to talk to it. */
#ifndef TIDEMILL_REDIS_URL_H
#define TIDEMILL_REDIS_URL_H

#include "base/error.h"

#include <stdbool.h>

struct redis_url {
    bool is_unix;
    char host[256]; /* host name or address, without the brackets of IPv6 */
    int port;
    char path[256]; /* of a unix socket */
    char user[128]; /* "" when none; percent-decoded */
    char password[256];
    int db;
    char shown[512]; /* the URL without its password: for people */
};

/* redis://[user[:password]@]host[:port][/db][?db=N] and unix://[user[:password]@]/path[?db=N];
 * redis://:password@host works as well. rediss:// is refused with a sentence. Errors:
 * ERROR_USAGE, with what is wrong and an example. */
int redis_url_parse(const char *text, struct redis_url *url, struct error *error);

#endif
