/* greeting.c: AUTH, CLIENT SETNAME, SELECT, INFO server; all sent at once, judged one by one.
 *
 * A Redis that lacks our name in CLIENT LIST works as well as any, so CLIENT SETNAME may be
 * refused. Without INFO we do not know whether the commands we need exist, so that must be
 * allowed. */
#include "redis/greeting.h"

#include "redis/command.h"

#include <stdio.h>
#include <string.h>

static const char *user_of(const struct redis_url *url)
{
    return url->user[0] != '\0' ? url->user : "default";
}

int greeting_append(const struct redis_url *url, const char *name, struct buf *out,
                    enum greeting_step steps[GREETING_STEPS])
{
    int count = 0;
    if (url->user[0] != '\0') {
        command_append(out, "AUTH", url->user, url->password, NULL);
        steps[count++] = GREETING_AUTH;
    } else if (url->password[0] != '\0') {
        command_append(out, "AUTH", url->password, NULL);
        steps[count++] = GREETING_AUTH;
    }
    if (name != NULL && name[0] != '\0') {
        command_append(out, "CLIENT", "SETNAME", name, NULL);
        steps[count++] = GREETING_SETNAME;
    }
    if (url->db != 0) {
        command_begin(out, 2);
        command_argument_text(out, "SELECT");
        command_argument_number(out, url->db);
        steps[count++] = GREETING_SELECT;
    }
    command_append(out, "INFO", "server", NULL);
    steps[count++] = GREETING_INFO;
    return count;
}

/* Errors that may come at any step and are settled by a person, not by time. */
static int judge_common(const struct redis_url *url, const char *command, const struct reply *reply,
                        struct error *error)
{
    if (reply_is_error(reply, "WRONGPASS"))
        return error_set(error, ERROR_FATAL_REPLY,
                         "Redis at %s refuses the password of user '%s', or that user is disabled; "
                         "put the right one into the URL: redis://user:password@host:port",
                         url->shown, user_of(url));
    if (reply_is_error(reply, "NOAUTH"))
        return error_set(error, ERROR_FATAL_REPLY,
                         "Redis at %s asks for a password and the URL has none; write "
                         "redis://:password@host:port or redis://user:password@host:port",
                         url->shown);
    if (reply_is_error(reply, "NOPERM"))
        return error_set(error, ERROR_FATAL_REPLY,
                         "Redis at %s does not let user '%s' run %s, which every connection needs; "
                         "grant it with: ACL SETUSER %s +%s",
                         url->shown, user_of(url), command, user_of(url), command);
    if (reply_is_error(reply, "DENIED"))
        return error_set(
            error, ERROR_FATAL_REPLY,
            "Redis at %s is in protected mode and takes no connections from other machines; set a "
            "password (requirepass) or bind it to a private address (%.200s)",
            url->shown, reply->text);
    return error_set(error, ERROR_REPLY, "Redis at %s answers %s with an error: %.400s", url->shown,
                     command, reply->text);
}

static int judge_auth(const struct redis_url *url, const struct reply *reply, struct error *error)
{
    bool is_ours = reply_is_error(reply, "ERR") && strstr(reply->text, "AUTH") != NULL;
    if (is_ours && strstr(reply->text, "without any password configured") != NULL)
        return error_set(error, ERROR_FATAL_REPLY,
                         "the URL has a password but Redis at %s asks for none; take it out of the "
                         "URL, or set requirepass there",
                         url->shown);
    if (is_ours)
        return error_set(error, ERROR_FATAL_REPLY, "Redis at %s refuses AUTH: %.400s", url->shown,
                         reply->text);
    return judge_common(url, "auth", reply, error);
}

static int judge_select(const struct redis_url *url, const struct reply *reply, struct error *error)
{
    if (reply_is_error(reply, "ERR") && strstr(reply->text, "max number of clients") == NULL)
        return error_set(error, ERROR_FATAL_REPLY,
                         "Redis at %s has no database %d (%.200s); choose another one in the URL "
                         "or raise 'databases' in redis.conf",
                         url->shown, url->db, reply->text);
    return judge_common(url, "select", reply, error);
}

static int judge_info(const struct redis_url *url, const struct reply *reply, uint32_t *version,
                      struct error *error)
{
    if (reply->type == REPLY_ERROR && strstr(reply->text, "unknown command") != NULL)
        return error_set(error, ERROR_FATAL_REPLY,
                         "Redis at %s does not know INFO, so its version cannot be told (renamed "
                         "by rename-command?); give INFO its name back",
                         url->shown);
    if (reply->type == REPLY_ERROR)
        return judge_common(url, "info", reply, error);
    const char *line = reply->type == REPLY_STRING ? strstr(reply->text, "redis_version:") : NULL;
    unsigned major = 0, minor = 0, patch = 0;
    if (line == NULL || sscanf(line, "redis_version:%u.%u.%u", &major, &minor, &patch) < 2)
        return error_set(error, ERROR_FATAL_REPLY,
                         "what answers at %s does not tell its redis_version in INFO; tidemill "
                         "needs Redis 6.2.5 or newer",
                         url->shown);
    uint32_t found = (major & 0xff) << 16 | (minor & 0xff) << 8 | (patch & 0xff);
    if (found < GREETING_OLDEST_REDIS)
        return error_set(error, ERROR_FATAL_REPLY,
                         "Redis at %s is version %u.%u.%u, but tidemill needs 6.2.5 or newer; "
                         "upgrade that Redis or point the URL to another one",
                         url->shown, major, minor, patch);
    *version = found;
    return 0;
}

int greeting_judge(const struct redis_url *url, enum greeting_step step, const struct reply *reply,
                   uint32_t *version, struct error *error)
{
    if (step == GREETING_INFO)
        return judge_info(url, reply, version, error);
    if (reply->type != REPLY_ERROR)
        return 0;
    switch (step) {
    case GREETING_AUTH:
        return judge_auth(url, reply, error);
    case GREETING_SELECT:
        return judge_select(url, reply, error);
    default:
        if (reply_is_error(reply, "NOPERM") || strstr(reply->text, "unknown") != NULL)
            return 0;
        return judge_common(url, "client", reply, error);
    }
}
