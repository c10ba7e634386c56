/* url.c: takes a URL apart from left to right: scheme, user and password, place, database. */
#include "redis/url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#define EXAMPLES                                                                                   \
    "write redis://[user:password@]host[:port][/db] or unix://[user:password@]/path[?db=N]"

enum { DEFAULT_PORT = 6379, MOST_PORT = 65535, MOST_DB = 1 << 20 };

/* A piece of the text: not NUL-terminated. */
struct part {
    const char *at;
    size_t len;
};

static struct part part_of(const char *text)
{
    return (struct part){text, strlen(text)};
}

/* Moves what stands before the first `separator` into `before` and keeps what is behind it;
 * false when there is none. */
static bool part_cut(struct part *whole, char separator, struct part *before)
{
    const char *found = memchr(whole->at, separator, whole->len);
    if (found == NULL)
        return false;
    *before = (struct part){whole->at, (size_t)(found - whole->at)};
    whole->at = found + 1;
    whole->len -= before->len + 1;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes `part` into `out` of `room` bytes, NUL included. */
static int decode(struct part part, char *out, size_t room, const char *what, struct error *error)
{
    size_t len = 0;
    for (size_t i = 0; i < part.len; i++) {
        char c = part.at[i];
        if (c == '%') {
            int high = i + 2 < part.len ? hex_digit(part.at[i + 1]) : -1;
            int low = i + 2 < part.len ? hex_digit(part.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return error_set(error, ERROR_USAGE,
                                 "the %s in the Redis URL has a '%%' without two hex digits behind "
                                 "it; write %%25 for a percent sign",
                                 what);
            c = (char)(high << 4 | low);
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 0x7f)
            return error_set(error, ERROR_USAGE, "the %s in the Redis URL has a control character",
                             what);
        if (len + 1 >= room)
            return error_set(error, ERROR_USAGE, "the %s in the Redis URL is longer than %zu bytes",
                             what, room - 1);
        out[len++] = c;
    }
    out[len] = '\0';
    return 0;
}

static int parse_number(struct part part, int least, int most, int *number, const char *what,
                        struct error *error)
{
    long long value = 0;
    bool is_number = part.len > 0 && part.len <= 9;
    for (size_t i = 0; is_number && i < part.len; i++) {
        is_number = isdigit((unsigned char)part.at[i]);
        value = value * 10 + (part.at[i] - '0');
    }
    if (!is_number || value < least || value > most)
        return error_set(error, ERROR_USAGE,
                         "the %s '%.*s' in the Redis URL is not a number from %d to %d", what,
                         (int)(part.len < 100 ? part.len : 100), part.at, least, most);
    *number = (int)value;
    return 0;
}

/* user, user:password or :password */
static int parse_user(struct part part, struct redis_url *url, struct error *error)
{
    struct part user = part;
    bool has_password = part_cut(&part, ':', &user);
    int code = decode(user, url->user, sizeof url->user, "user", error);
    if (code == 0 && has_password)
        code = decode(part, url->password, sizeof url->password, "password", error);
    return code;
}

/* ?db=N */
static int parse_query(struct part query, struct redis_url *url, struct error *error)
{
    if (query.len < 3 || memcmp(query.at, "db=", 3) != 0)
        return error_set(error, ERROR_USAGE,
                         "the Redis URL ends in '?%.*s', but only '?db=N' is known",
                         (int)(query.len < 100 ? query.len : 100), query.at);
    return parse_number((struct part){query.at + 3, query.len - 3}, 0, MOST_DB, &url->db,
                        "database", error);
}

/* host, host:port, [address] or [address]:port */
static int parse_host(struct part part, struct redis_url *url, struct error *error)
{
    struct part host = part;
    bool has_port;
    if (part.len > 0 && part.at[0] == '[') {
        part.at++;
        part.len--;
        if (!part_cut(&part, ']', &host) || (part.len > 0 && part.at[0] != ':'))
            return error_set(
                error, ERROR_USAGE,
                "the address in the Redis URL lacks its ']'; write redis://[::1]:6379");
        has_port = part.len > 0;
        if (has_port)
            part = (struct part){part.at + 1, part.len - 1};
    } else {
        has_port = part_cut(&part, ':', &host);
        if (has_port && memchr(part.at, ':', part.len) != NULL)
            return error_set(error, ERROR_USAGE,
                             "the Redis URL has more than one ':' behind its host; write an IPv6 "
                             "address in brackets: redis://[::1]:6379");
    }
    if (host.len == 0)
        return error_set(error, ERROR_USAGE, "the Redis URL names no host; " EXAMPLES);
    int code = decode(host, url->host, sizeof url->host, "host", error);
    if (code == 0 && has_port)
        code = parse_number(part, 1, MOST_PORT, &url->port, "port", error);
    return code;
}

static int parse_tcp(struct part rest, struct redis_url *url, struct error *error)
{
    struct part host = rest;
    bool has_path = part_cut(&rest, '/', &host);
    int code = parse_host(host, url, error);
    if (code == 0 && has_path && rest.len > 0)
        code = parse_number(rest, 0, MOST_DB, &url->db, "database", error);
    return code;
}

static int parse_unix(struct part rest, struct redis_url *url, struct error *error)
{
    if (rest.len < 2 || rest.at[0] != '/')
        return error_set(
            error, ERROR_USAGE,
            "the Redis URL needs the absolute path of a socket: unix:///run/redis/redis.sock");
    int code = decode(rest, url->path, sizeof url->path, "path", error);
    size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path;
    if (code == 0 && strlen(url->path) >= room)
        code = error_set(error, ERROR_USAGE,
                         "the path of the socket in the Redis URL is longer than %zu bytes, the "
                         "most that this system takes",
                         room - 1);
    return code;
}

static void write_shown(struct redis_url *url)
{
    char user[sizeof url->user + 1] = "";
    if (url->user[0] != '\0')
        snprintf(user, sizeof user, "%s@", url->user);
    if (url->is_unix && url->db != 0)
        snprintf(url->shown, sizeof url->shown, "unix://%s%s?db=%d", user, url->path, url->db);
    else if (url->is_unix)
        snprintf(url->shown, sizeof url->shown, "unix://%s%s", user, url->path);
    else {
        bool is_v6 = strchr(url->host, ':') != NULL;
        int len = snprintf(url->shown, sizeof url->shown, "redis://%s%s%s%s:%d", user,
                           is_v6 ? "[" : "", url->host, is_v6 ? "]" : "", url->port);
        if (url->db != 0)
            snprintf(url->shown + len, sizeof url->shown - (size_t)len, "/%d", url->db);
    }
}

/* Where the user ends: the last '@' before the path, because people forget to encode one in a
 * password. */
static const char *find_user_end(struct part rest)
{
    const char *slash = memchr(rest.at, '/', rest.len);
    const char *end = memrchr(rest.at, '@', slash != NULL ? (size_t)(slash - rest.at) : rest.len);
    return end;
}

int redis_url_parse(const char *text, struct redis_url *url, struct error *error)
{
    struct redis_url parsed = {.port = DEFAULT_PORT};
    const char *behind = strstr(text, "://");
    size_t scheme_len = behind != NULL ? (size_t)(behind - text) : 0;
    if (scheme_len == 6 && strncasecmp(text, "rediss", 6) == 0)
        return error_set(error, ERROR_USAGE,
                         "rediss:// (TLS) is not supported yet; use redis:// over a private "
                         "network or a TLS tunnel, or unix://");
    parsed.is_unix = scheme_len == 4 && strncasecmp(text, "unix", 4) == 0;
    if (!parsed.is_unix && !(scheme_len == 5 && strncasecmp(text, "redis", 5) == 0))
        return error_set(error, ERROR_USAGE,
                         "the Redis URL must begin with redis:// or unix://; " EXAMPLES);
    struct part rest = part_of(behind + 3), before;
    const char *user_end = find_user_end(rest);
    if (user_end != NULL) {
        struct part user = {rest.at, (size_t)(user_end - rest.at)};
        int code = parse_user(user, &parsed, error);
        if (code != 0)
            return code;
        rest = part_of(user_end + 1);
    }
    if (part_cut(&rest, '?', &before)) {
        int code = parse_query(rest, &parsed, error);
        if (code != 0)
            return code;
        rest = before;
    }
    int code = parsed.is_unix ? parse_unix(rest, &parsed, error) : parse_tcp(rest, &parsed, error);
    if (code != 0)
        return code;
    write_shown(&parsed);
    *url = parsed;
    return 0;
}
