local ffi = require "ffi"
local header = require "spec.support.header"
local redis = require "spec.support.redis"
local C = header.load("src/redis/commands.h", "src/redis/parser.h", "src/redis/client.h")

-- Words, and arguments with spaces given as tables: { "SET", "a b" }.
local function words_of(command)
  if type(command) == "table" then
    return command
  end
  local words = {}
  for word in command:gmatch("%S+") do
    words[#words + 1] = word
  end
  return words
end

-- A verdict as text: "read name key key*", with a star behind keys that may change and "any" for
-- lookups that may depend on any key; or nil and the sentence.
local function check(table_of_commands, command)
  local words = words_of(command)
  local argv, lens, keep = redis.arguments(words, #words)
  local verdict, why = ffi.new("struct commands_verdict"), ffi.new("struct error")
  if C.commands_check(table_of_commands, #words, argv, lens, verdict, why) ~= 0 then
    C.commands_verdict_fini(verdict)
    return nil, ffi.string(why.text)
  end
  local out = { verdict.is_write and "write" or "read", ffi.string(verdict.name) }
  for i = 0, verdict.keys.count - 1 do
    local place = verdict.keys.list[i]
    out[#out + 1] = keep[place.at + 1] .. (place.is_written and "*" or "")
  end
  if verdict.reads_any_key then
    out[#out + 1] = "any"
  end
  C.commands_verdict_fini(verdict)
  return table.concat(out, " ")
end

local function load(reply)
  local out, why = ffi.new("struct commands *[1]"), ffi.new("struct error")
  if C.commands_load(reply, out, why) ~= 0 then
    return nil, ffi.string(why.text)
  end
  return ffi.gc(out[0], C.commands_destroy)
end

-- A Lua value as bytes of the protocol: tables are arrays, { status = "x" } a status.
local function encode(value)
  if type(value) == "number" then
    return ":" .. value .. "\r\n"
  elseif type(value) == "string" then
    return "$" .. #value .. "\r\n" .. value .. "\r\n"
  elseif value.status then
    return "+" .. value.status .. "\r\n"
  end
  local out = { "*" .. #value .. "\r\n" }
  for i, element in ipairs(value) do
    out[i + 1] = encode(element)
  end
  return table.concat(out)
end

local function load_bytes(bytes)
  local parser, arena = C.parser_create(), ffi.new("struct arena")
  local reply = ffi.new("const struct reply *[1]")
  C.parser_feed(parser, bytes, #bytes)
  assert(C.parser_next(parser, arena, reply, nil) == 0 and reply[0] ~= nil)
  local commands, why = load(reply[0])
  C.parser_destroy(parser)
  C.arena_fini(arena)
  return commands, why
end

-- What holds for every version of Redis: command -> verdict.
local allowed = {
  ["GET k"] = "read get k",
  ["get k"] = "read get k",
  ["MGET a b c"] = "read mget a b c",
  ["HGETALL h"] = "read hgetall h",
  ["SET k v"] = "write set k*",
  ["MSET a 1 b 2"] = "write mset a* b*",
  ["DEL a b"] = "write del a* b*",
  ["XADD s * f v"] = "write xadd s*",
  ["XRANGE s - +"] = "read xrange s",
  ["XLEN s"] = "read xlen s",
  ["XINFO STREAM s"] = "read xinfo|stream s",
  ["xinfo groups s"] = "read xinfo|groups s",
  ["XINFO CONSUMERS s g"] = "read xinfo|consumers s",
  ["OBJECT ENCODING k"] = "read object|encoding k",
  ["RANDOMKEY"] = "read randomkey any",
  ["DBSIZE"] = "read dbsize any",
  ["SCAN 0"] = "read scan any",
  ["PUBLISH c m"] = "write publish",
  ["ZUNION 2 a b WITHSCORES"] = "read zunion a b",
  ["ZDIFF 1 a"] = "read zdiff a",
  ["SORT_RO l LIMIT 0 10"] = "read sort_ro l",
  ["SORT_RO l BY w:* GET o:*->f GET #"] = "read sort_ro l any",
  ["SORT_RO l BY nosort"] = "read sort_ro l",
  ["GEORADIUS_RO g 1 2 3 m"] = "read georadius_ro g",
}

-- … with keys that are only read, which Redis 7 tells apart.
local allowed_7 = {
  ["ZUNIONSTORE d 2 a b WEIGHTS 1 2"] = "write zunionstore d* a b",
  ["SORT l"] = "write sort l",
  ["SORT l STORE d"] = "write sort l d*",
  ["SORT l store d STORE e"] = "write sort l d* e*",
  ["GEORADIUS g 1 2 3 m STORE d"] = "write georadius g d*",
  ["GEORADIUS g 1 2 3 m STORE d STOREDIST e"] = "write georadius g d* e*",
  ["GEORADIUSBYMEMBER g m 3 m STOREDIST d"] = "write georadiusbymember g d*",
  ["COPY a b"] = "write copy a b*",
  ["SUNIONSTORE d a b"] = "write sunionstore d* a b",
  ["SMOVE a b m"] = "write smove a* b*",
  ["BITOP AND d a b"] = "write bitop d* a b",
  ["LMPOP 2 a b LEFT"] = "write lmpop a* b*",
  ["ZINTERCARD 2 a b LIMIT 3"] = "read zintercard a b",
  ["MEMORY USAGE k"] = "read memory|usage k",
  ["PFCOUNT a b"] = "read pfcount a b",
}

-- Command -> words of the sentence.
local refused = {
  ["FLUSHALL"] = "FLUSHALL is refused",
  ["flushdb"] = "FLUSHDB is refused",
  ["SWAPDB 0 1"] = "SWAPDB is refused",
  ["MIGRATE h 1 k 0 5"] = "MIGRATE is refused",
  ["MOVE k 1"] = "MOVE is refused",
  ["KEYS *"] = "use SCAN",
  ["XREAD STREAMS s 0"] = "'stream'",
  ["XREADGROUP GROUP g c STREAMS s >"] = "'stream'",
  ["XACK s g 1-0"] = "XACK is refused",
  ["XGROUP CREATE s g 0"] = "XGROUP is refused",
  ["XGROUP"] = "XGROUP is refused",
  ["XSETID s 1-0"] = "XSETID is refused",
  ["BLPOP l 0"] = "BLPOP is refused: it waits",
  ["CONFIG GET x"] = "administers",
  ["SHUTDOWN"] = "administers",
  ["EVAL x 0"] = "EVAL is refused",
  ["SUBSCRIBE c"] = "only use PUBLISH",
  ["PING"] = "neither reads nor writes",
  ["TIME"] = "neither reads nor writes",
  ["SELECT 1"] = "SELECT is refused",
  ["MULTI"] = "MULTI is refused",
  ["NOSUCH k"] = "no command NOSUCH",
  ["GET"] = "GET takes exactly 1 argument, but got 0",
  ["GET a b"] = "GET takes exactly 1 argument, but got 2",
  ["SET k"] = "SET takes at least 2 arguments, but got 1",
  ["XINFO"] = "XINFO needs a subcommand",
  ["XINFO NOSUCH s"] = "XINFO NOSUCH is not a subcommand",
  ["XINFO STREAM"] = "XINFO STREAM takes at least 1 argument, but got 0",
  ["OBJECT ENCODING k x"] = "OBJECT ENCODING takes exactly 1 argument",
  ["ZUNION x a b"] = "number of keys",
  ["ZUNION 3 a b"] = "fewer arguments",
  ["ZUNION -1 a b"] = "number of keys",
  ["ZUNION 99999999999999999999 a b"] = "number of keys",
  ["GET tidemill:orders:ctl"] = "keys that begin with 'tidemill:'",
  ["SET tidemill:{x}:g:ctl 1"] = "keys that begin with 'tidemill:'",
  ["MGET a tidemill: b"] = "keys that begin with 'tidemill:'",
  ["ZUNIONSTORE d 2 a tidemill:x"] = "keys that begin with 'tidemill:'",
  ["SORT l STORE a STORE tidemill:x"] = "keys that begin with 'tidemill:'",
  ["GEORADIUS g 1 2 3 m STORE a STORE tidemill:x"] = "keys that begin with 'tidemill:'",
  ["COPY tidemill:g:ctl mine"] = "keys that begin with 'tidemill:'",
  ["XADD tidemill:g:dlq * f v"] = "keys that begin with 'tidemill:'",
  ["SORT_RO l BY tidemill:g:*"] = "engine's own keys",
  ["SORT_RO l GET *->state"] = "engine's own keys",
  ["SORT_RO l GET tide*"] = "engine's own keys",
}

local function holds(get_table, list)
  for command, verdict in pairs(list) do
    it("allows " .. command, function()
      local got, why = check(get_table(), command)
      assert.is_nil(why)
      assert.equal(verdict, got)
    end)
  end
end

local function holds_not(get_table, list)
  for command, words in pairs(list) do
    it("refuses " .. command, function()
      local got, why = check(get_table(), command)
      assert.is_nil(got)
      assert.truthy(why:find(words, 1, true), why)
    end)
  end
end

describe("the commands of a real Redis", function()
  local server, rows, commands

  setup(function()
    server = redis.start()
    rows = server:call("COMMAND")
    local argv, lens = redis.arguments({ "COMMAND" }, 1)
    local reply, why = ffi.new("const struct reply *[1]"), ffi.new("struct error")
    assert(C.client_call_argv(server:own().handle, 1, argv, lens, reply, why) == 0)
    commands = load(reply[0])
  end)

  teardown(function()
    server:stop()
  end)

  local function real()
    return commands
  end

  it("are all known", function()
    assert.truthy(tonumber(C.commands_count(commands)) > #rows)
  end)

  holds(real, allowed)
  holds(real, allowed_7)
  holds_not(real, refused)

  it("are refused or told by all that Redis flags, not by luck", function()
    for _, row in ipairs(rows) do
      local flags = {}
      for _, flag in ipairs(row[3]) do
        flags[flag] = true
      end
      local may = (flags.readonly or flags.write) and not (flags.admin or flags.blocking
        or flags.noscript or flags.pubsub)
      if not may and row[1] ~= "publish" and #row[10] == 0 then
        local words = { row[1] }
        for i = 2, math.abs(row[2]) do
          words[i] = "1"
        end
        assert.is_nil((check(commands, words)), row[1])
      end
    end
  end)

  it("finds the same keys as Redis does", function()
    local samples = { "GET k", "MSET a 1 b 2", "ZUNIONSTORE d 2 a b", "SORT l STORE d",
      "BITOP AND d a b", "LMPOP 1 a LEFT",
      "GEORADIUS g 1 2 3 m STORE d", "COPY a b", "XADD s * f v", "RENAME a b", "PFMERGE d a b",
        "LCS a b", "HSET h f v",
      "ZRANGESTORE d s 0 -1", "OBJECT FREQ k", "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m",
        "SINTERCARD 2 a b" }
    for _, sample in ipairs(samples) do
      local expected = server:call("COMMAND", "GETKEYS", unpack(words_of(sample)))
      local verdict = assert(check(commands, sample))
      local keys = verdict:gsub("%*", ""):match("^%S+ %S+ (.*)$")
      table.sort(expected)
      local got = words_of(keys)
      table.sort(got)
      assert.same(expected, got, sample)
    end
  end)

  it("takes names of any bytes and length", function()
    for _, name in ipairs { "", ("x"):rep(5000), "g\0et", "get\n", "xinfo|stream", "\255\254" } do
      local got, why = check(commands, { name, "k" })
      assert.is_nil(got)
      assert.truthy(why:find("no command", 1, true), why)
    end
    assert.is_nil((check(commands, { "XINFO", "STREAM\0", "s" })))
  end)

  it("takes keys of any bytes", function()
    assert.equal("read get a\0b", check(commands, { "GET", "a\0b" }))
    assert.is_nil((check(commands, { "GET", "tidemill:\0" })))
    assert.equal("read get tidemill", check(commands, { "GET", "tidemill" }))
    assert.equal("read get Tidemill:x", check(commands, { "GET", "Tidemill:x" }))
    assert.equal("read get ", check(commands, { "GET", "" }))
  end)

  it("checks C strings when no lengths are given", function()
    local verdict, why = ffi.new("struct commands_verdict"), ffi.new("struct error")
    local count = 40 -- more than fit on the stack
    local keep, argv = { "MGET" }, ffi.new("const char *[?]", count)
    for i = 1, count do
      keep[i] = keep[i] or "key" .. i
      argv[i - 1] = keep[i]
    end
    assert.equal(0, C.commands_check(commands, count, argv, nil, verdict, why))
    assert.equal(count - 1, verdict.keys.count)
    C.commands_verdict_fini(verdict)
  end)
end)

describe("the commands of Redis 6.2", function()
  -- As that version answers: seven elements a row, containers as one command.
  local function row(name, arity, flags, first, last, step)
    local words = {}
    for flag in flags:gmatch("%S+") do
      words[#words + 1] = { status = flag }
    end
    return { name, arity, words, first, last, step, { { status = "@all" } } }
  end

  local commands

  setup(function()
    commands = load_bytes(encode {
      row("get", 2, "readonly fast", 1, 1, 1),
      row("mget", -2, "readonly fast", 1, -1, 1),
      row("hgetall", 2, "readonly random", 1, 1, 1),
      row("set", -3, "write denyoom", 1, 1, 1),
      row("mset", -3, "write denyoom", 1, -1, 2),
      row("del", -2, "write", 1, -1, 1),
      row("xadd", -5, "write denyoom fast random", 1, 1, 1),
      row("xrange", -4, "readonly", 1, 1, 1),
      row("xlen", 2, "readonly fast", 1, 1, 1),
      row("xinfo", -2, "readonly random", 2, 2, 1),
      row("object", -2, "readonly random", 2, 2, 1),
      row("randomkey", 1, "readonly random", 0, 0, 0),
      row("dbsize", 1, "readonly fast", 0, 0, 0),
      row("scan", -2, "readonly random", 0, 0, 0),
      row("publish", 3, "pubsub loading stale fast may_replicate", 0, 0, 0),
      row("zunion", -3, "readonly movablekeys", 0, 0, 0),
      row("zdiff", -3, "readonly movablekeys", 0, 0, 0),
      row("sort_ro", -2, "readonly", 1, 1, 1),
      row("georadius_ro", -6, "readonly", 1, 1, 1),
      row("zunionstore", -4, "write denyoom movablekeys", 1, 1, 1),
      row("copy", -3, "write denyoom", 1, 2, 1),
      row("sort", -2, "write denyoom movablekeys", 1, 1, 1),
      row("memory", -2, "readonly random movablekeys", 0, 0, 0),
      row("georadius", -6, "write denyoom movablekeys", 1, 1, 1),
      row("stralgo", -2, "readonly movablekeys", 0, 0, 0),
      row("blpop", -3, "write noscript blocking", 1, -2, 1),
      row("config", -2, "admin noscript loading stale", 0, 0, 0),
      row("shutdown", -1, "admin noscript loading stale", 0, 0, 0),
      row("ping", -1, "stale fast", 0, 0, 0),
      row("time", 1, "random loading stale fast", 0, 0, 0),
      row("select", 2, "loading stale fast", 0, 0, 0),
      row("multi", 1, "noscript loading stale fast", 0, 0, 0),
      row("subscribe", -2, "pubsub noscript loading", 0, 0, 0),
      row("eval", -3, "noscript may_replicate movablekeys", 0, 0, 0),
      row("mod.moves", -3, "write movablekeys", 0, 0, 0),
    })
  end)

  local function simulated()
    return commands
  end

  holds(simulated, allowed)
  holds_not(simulated, refused)

  holds(simulated, {
    ["SORT l STORE d"] = "write sort l d*",
    ["ZUNIONSTORE d 2 a b"] = "write zunionstore d* a b",
    ["COPY a b"] = "write copy a* b*", -- that version does not say which one is only read
  })

  holds_not(simulated, {
    ["MEMORY USAGE k"] = "MEMORY USAGE is not a subcommand that rules may use",
    ["STRALGO LCS KEYS a b"] = "STRALGO LCS is not a subcommand",
    ["OBJECT HELP"] = "OBJECT HELP is not a subcommand",
    ["MOD.MOVES a b"] = "cannot be told",
  })
end)

describe("a reply to COMMAND", function()
  it("that is none is refused with a sentence", function()
    for _, bytes in ipairs { "+OK\r\n", ":1\r\n", "*0\r\n", "$-1\r\n", "*1\r\n$-1\r\n",
      encode { { "get" } },
      encode { { "get", "2", {}, 1, 1, 1 } }, encode { { 1, 2, {}, 1, 1, 1 } }, encode { { "get",
        2, 3, 1, 1, 1 } },
      encode { { "x", -2, {}, 0, 0, 0, {}, {}, {}, { { "x|y" } } } } } do
      local commands, why = load_bytes(bytes)
      assert.is_nil(commands)
      assert.truthy(why:find("not the list of commands", 1, true), why)
    end
    local _, why = load_bytes("-NOPERM this user has no permissions\r\n")
    assert.truthy(why:find("NOPERM", 1, true), why)
  end)

  it("with odd key specifications makes a command whose keys are unknown", function()
    local odd = { "", {}, { "flags" }, { "flags", 1, "begin_search", 2, "find_keys", 3 },
      { "flags", { "RO" }, "begin_search", { "type", "keyword", "spec", { "startfrom", 1 } },
        "find_keys", { "type", "range", "spec", {} } },
      { "flags", { "RO" }, "begin_search", { "type", "new", "spec", {} }, "find_keys", { "type",
        "new", "spec", {} } },
      { "flags", { "RO", "incomplete" }, "begin_search", { "type", "index", "spec", { "index",
        1 } },
        "find_keys", { "type", "range", "spec", { "lastkey", 0, "keystep", 1, "limit", 0 } } } }
    for _, spec in ipairs(odd) do
      local commands = assert(load_bytes(encode {
        { "odd", -2, { { status = "readonly" } }, 1, 1, 1, {}, {}, { spec }, {} } }))
      local got, why = check(commands, "ODD k")
      assert.is_nil(got)
      assert.truthy(why:find("cannot be told", 1, true), why)
    end
  end)

  it("with wild numbers in its specifications never makes keys beyond the arguments", function()
    for _, index in ipairs { -7, 0, 2, 2147483647 } do
      for _, last in ipairs { -2147483647, -9, 9, 2147483647 } do
        local spec = { "flags", { "RO" }, "begin_search", { "type", "index", "spec", { "index",
          index } },
          "find_keys", { "type", "range", "spec", { "lastkey", last, "keystep", -3, "limit", 0 } } }
        local commands = assert(load_bytes(encode {
          { "odd", -2, { { status = "readonly" } }, 1, 1, 1, {}, {}, { spec }, {} } }))
        local got = check(commands, "ODD k")
        assert(got == nil or got == "read odd any" or got == "read odd k", got)
      end
    end
  end)
end)
