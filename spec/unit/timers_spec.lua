local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/rules/timers.h", "src/redis/parser.h", "src/base/arena.h", "src/base/buf.h")

local WALL, EVENT, WINDOW = tonumber(C.TIMER_WALL), tonumber(C.TIMER_EVENT), tonumber(C.TIMER_WINDOW)
local ENDS = { [WALL] = "wall", [EVENT] = "event", [WINDOW] = "window" }
local NONE, UNKNOWN = -1, -2
local PREFIX, PAGE, MOST = "tidemill:g:", 2000, 512
local RULES = { [0] = "zero", "one", "two", "three" }
local huge = math.huge

local function rule_name(_, rule)
  return RULES[rule]
end

-- What C looks at; the callback keeps it alive.
local name_texts = {}
for rule, name in pairs(RULES) do
  name_texts[rule] = ffi.new("char[?]", #name + 1, name)
end
local name_callback = ffi.cast("const char *(*)(const void *, uint32_t)", function(_, rule)
  return name_texts[rule]
end)
name_texts.prefix = ffi.new("char[?]", #PREFIX + 1, PREFIX)
local names = ffi.new("struct timer_names", { name = name_callback, prefix = name_texts.prefix })

local function queue_key(rule, kind)
  return PREFIX .. "timers:" .. rule_name(nil, rule) .. ":" .. ENDS[kind]
end

local function data_key(rule)
  return PREFIX .. "timerdata:" .. rule_name(nil, rule)
end

local function member(key, name)
  return (key:gsub("%z", "\0\255")) .. "\0" .. name
end

-- Commands as lists of arguments.
local function commands_of(bytes)
  local list, at = {}, 1
  while at <= #bytes do
    local count, next_at = bytes:match("^%*(%d+)\r\n()", at)
    assert(count, "no command")
    local argv = {}
    at = next_at
    for i = 1, tonumber(count) do
      local len, from = bytes:match("^%$(%d+)\r\n()", at)
      argv[i] = bytes:sub(from, from + len - 1)
      at = from + len + 2
    end
    list[#list + 1] = argv
  end
  return list
end

-- ── a Redis of our own ──

local function bulk(text)
  return text and "$" .. #text .. "\r\n" .. text .. "\r\n" or "$-1\r\n"
end

local Redis = {}
Redis.__index = Redis

local WRONGTYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

local function new_redis()
  return setmetatable({ keys = {}, log = {} }, Redis)
end

function Redis:value(key)
  self.keys[key] = self.keys[key] or {}
  return self.keys[key]
end

function Redis:ZADD(key, ...)
  local list, zset = { ... }, self:value(key)
  for i = 1, #list, 2 do
    zset[list[i + 1]] = assert(tonumber(list[i]))
  end
  return ":0\r\n"
end

function Redis:ZREM(key, ...)
  for _, name in ipairs { ... } do
    self:value(key)[name] = nil
  end
  return ":0\r\n"
end
Redis.HDEL = Redis.ZREM

function Redis:HSET(key, ...)
  local list, hash = { ... }, self:value(key)
  for i = 1, #list, 2 do
    hash[list[i]] = list[i + 1]
  end
  return ":0\r\n"
end

function Redis:HLEN(key)
  local count = 0
  for _ in pairs(self:value(key)) do count = count + 1 end
  return ":" .. count .. "\r\n"
end

function Redis:HMGET(key, ...)
  local hash, out = self:value(key), {}
  for i, field in ipairs { ... } do out[i] = bulk(hash[field]) end
  return "*" .. #out .. "\r\n" .. table.concat(out)
end

local function in_order(zset, least)
  local list = {}
  for name, score in pairs(zset) do
    if score >= least then list[#list + 1] = { score, name } end
  end
  table.sort(list, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  return list
end

function Redis:ZRANGEBYSCORE(key, min, max, scores, limit, offset, count)
  assert(max == "+inf" and scores == "WITHSCORES" and limit == "LIMIT")
  local least = min == "-inf" and -huge or assert(tonumber(min))
  local list, out = in_order(self:value(key), least), {}
  for i = offset + 1, math.min(#list, offset + count) do
    out[#out + 1] = bulk(list[i][2])
    out[#out + 1] = bulk(("%.17g"):format(list[i][1]))
  end
  return "*" .. #out .. "\r\n" .. table.concat(out)
end

function Redis:run(argv)
  local verb, key = argv[1], argv[2]
  local width = (verb == "ZADD" or verb == "HSET") and 2 or 1
  if verb ~= "ZRANGEBYSCORE" then
    assert(#argv - 2 <= MOST * width, "a command is too long")
  end
  self.log[#self.log + 1] = argv
  if type(self.keys[key]) == "string" then return WRONGTYPE end
  return self[verb](self, unpack(argv, 2))
end

-- ── timers ──

local Timers = {}
Timers.__index = Timers

local function create()
  return setmetatable({ handle = ffi.gc(C.timers_create(), C.timers_destroy) }, Timers)
end

-- All queues of rules 1 and 2 attended and loaded from `redis`.
local function create_loaded(redis)
  local t = create()
  for rule = 1, 2 do
    for kind = WALL, WINDOW do t:attend(rule, kind, true) end
  end
  t:load(redis or new_redis())
  return t
end

function Timers:set(rule, kind, key, name, due, payload)
  codec.with_exact(key, function(k, k_len)
    codec.with_exact(name, function(n, n_len)
      codec.with_exact(payload or "", function(p, p_len)
        C.timers_set(self.handle, rule, kind, k, k_len, n, n_len, due, payload and p or nil, p_len)
      end)
    end)
  end)
end

function Timers:cancel(rule, kind, key, name)
  C.timers_cancel(self.handle, rule, kind, key, #key, name, #name)
end

function Timers:find(rule, kind, key, name)
  return C.timers_find(self.handle, rule, kind, key, #key, name, #name)
end

-- key, name, due, payload; or nothing. `out` keeps the struct.
function Timers:take(rule, kind, out)
  out = out or ffi.new("struct timer")
  if not C.timers_take(self.handle, rule, kind, out) then return nil end
  return ffi.string(out.key, out.key_len), ffi.string(out.name, out.name_len), out.due_ms,
    out.payload ~= nil and ffi.string(out.payload, out.payload_len) or nil
end

function Timers:is_short(rule, kind) return C.timers_is_short(self.handle, rule, kind) end
function Timers:attend(rule, kind, is) C.timers_attend(self.handle, rule, kind, is) end
function Timers:next(rule, kind) return C.timers_nexts(self.handle)[rule * 3 + kind] end
function Timers:next_wall() return C.timers_next_wall(self.handle) end
function Timers:begin() C.timers_begin(self.handle) end
function Timers:discard() C.timers_discard(self.handle) end
function Timers:drop() C.timers_drop(self.handle) end
function Timers:count() return tonumber(C.timers_count(self.handle)) end

local function gather(append)
  local out = ffi.new("struct buf")
  local count = append(out)
  local bytes = out.len > 0 and header.text(out) or ""
  C.buf_fini(out)
  local list = commands_of(bytes)
  assert(#list == count, "another number of commands was told")
  return list
end

function Timers:commands()
  return gather(function(out) return C.timers_commands(self.handle, names, out) end)
end

function Timers:wants()
  return gather(function(out) return C.timers_wants(self.handle, names, out) end)
end

-- Hands `bytes` over as the reply to want number `number`, from 0.
function Timers:reply(number, bytes)
  local parser, arena, why = C.parser_create(), ffi.new("struct arena"), ffi.new("struct error")
  local reply = ffi.new("const struct reply *[1]")
  C.parser_feed(parser, bytes, #bytes)
  assert(C.parser_next(parser, arena, reply, why) == 0 and reply[0] ~= nil)
  local ok = C.timers_take_reply(self.handle, number, reply[0])
  C.parser_destroy(parser)
  C.arena_fini(arena)
  return ok
end

-- One round of loading; returns the commands and whether all was as it should be.
function Timers:load_once(redis)
  local list, is_fine = self:wants(), true
  local replies = {}
  for i, argv in ipairs(list) do replies[i] = redis:run(argv) end
  for i, bytes in ipairs(replies) do
    if not self:reply(i - 1, bytes) then is_fine = false end
  end
  return list, is_fine
end

function Timers:load(redis)
  local all_fine = true
  for _ = 1, 100 do
    local list, is_fine = self:load_once(redis)
    all_fine = all_fine and is_fine
    if #list == 0 then return all_fine end
  end
  error "loading does not end"
end

-- Sends the batch's commands, and begins the next; returns the commands.
function Timers:seal(redis)
  local list = self:commands()
  for _, argv in ipairs(list) do
    local reply = redis and redis:run(argv) or ":0\r\n"
    assert(reply:sub(1, 1) == ":", reply)
  end
  C.timers_seal(self.handle)
  self:begin()
  return list
end

describe("members", function()
  local function made(key, name)
    local out = ffi.new("struct buf")
    C.timer_member(out, key, #key, name, #name)
    local bytes = header.text(out)
    C.buf_fini(out)
    return bytes
  end

  -- key, name; nil when it is none.
  local function parsed(bytes)
    return codec.with_exact(bytes, function(copy, len)
      local key, name, name_len = ffi.new("struct buf"), ffi.new("const char *[1]"), ffi.new("size_t[1]")
      if not C.timer_member_parse(copy, len, key, name, name_len) then return nil end
      local text = ffi.string(key.data, key.len)
      C.buf_fini(key)
      return text, ffi.string(name[0], name_len[0])
    end)
  end

  it("are key, NUL, name, with a key's NULs as NUL FF, and are read back", function()
    for _, case in ipairs {
      { "k", "n", "k\0n" }, { "", "n", "\0n" }, { "", "", "\0" }, { "k", "", "k\0" }, { "\0", "n", "\0\255\0n" },
      { "a\0b", "n", "a\0\255b\0n" }, { "a\0\0", "n", "a\0\255\0\255\0n" }, { "\255", "n", "\255\0n" },
      { "a\0\255", "n", "a\0\255\255\0n" }, { ("k"):rep(1000), ("n"):rep(128), ("k"):rep(1000) .. "\0" .. ("n"):rep(128) },
    } do
      assert.equal(case[3], made(case[1], case[2]))
      assert.same({ case[1], case[2] }, { parsed(case[3]) })
    end
  end)

  it("order as key, then name", function()
    local list = {}
    for _, key in ipairs { "", "\0", "\0\0", "\0\1", "\0\255", "\1", "a", "a\0", "a\0\0", "a\0b", "a\1", "ab", "b", "\255" } do
      for _, name in ipairs { "", " ", "a", "b", "b ", "\254" } do list[#list + 1] = { key, name } end
    end
    for i, a in ipairs(list) do
      for j, b in ipairs(list) do
        local left, right = made(a[1], a[2]), made(b[1], b[2])
        assert.equal(i < j, left < right)
        assert.equal(i == j, left == right)
      end
    end
  end)

  it("are refused when they have no name's NUL, or a NUL in the name", function()
    for _, bytes in ipairs { "", "a", "\0\255", "a\0\255b", "a\0b\0", "a\0b\0c", "\0\0", "a\0b\0\255" } do
      assert.is_nil((parsed(bytes)), codec.to_hex(bytes))
    end
  end)
end)

describe("timers without a Redis behind them", function()
  it("are all here, however many, and nothing is ever asked for", function()
    local t, due = create(), {}
    C.timers_know_all(t.handle)
    for kind = WALL, WINDOW do t:attend(1, kind, true) end
    for n = 1, 30000 do -- far more than are kept otherwise
      due[n] = (n * 7919) % 30011
      t:set(1, WALL, "k" .. n, "t", due[n])
      if n % 1000 == 0 then
        C.timers_seal(t.handle)
        t:begin()
      end
    end
    assert.equal(30000, tonumber(C.timers_count(t.handle)))
    assert.equal(NONE, t:find(1, WALL, "none", "t"))
    assert.equal(NONE, t:find(1, EVENT, "none", "t"))
    assert.equal(NONE, t:find(2, WALL, "none", "t")) -- a rule whose queues are not attended
    assert.equal(due[29999], t:find(1, EVENT, "k29999", "t"))
    local out, names_out = ffi.new "struct buf", names
    assert.equal(0, C.timers_wants(t.handle, names_out, out))
    table.sort(due)
    for n = 1, 30000 do
      local _, _, at = t:take(1, WALL)
      assert.equal(due[n], at)
    end
    assert.is_nil(t:take(1, WALL))
    assert.is_false(C.timers_is_short(t.handle, 1, WALL))
    C.timers_seal(t.handle)
  end)
end)

describe("timers", function()
  it("are taken in the order of due, key, name, with all that they are", function()
    local t = create_loaded()
    t:begin()
    t:set(1, WALL, "k", "b", 20, "p")
    t:set(1, WALL, "k", "a", 20)
    t:set(1, WALL, "k2", "a", 10, "")
    t:set(1, WALL, "a\0b\0", "x", 30, ("z"):rep(5000))
    t:set(1, WALL, "", "n", 20)
    t:set(2, WALL, "k", "n", 5)
    assert.same({ 10, 5 }, { t:next(1, WALL), t:next_wall() })
    local taken = {}
    for i = 1, 5 do taken[i] = { t:take(1, WALL) } end
    assert.same({ { "k2", "a", 10, "" }, { "", "n", 20 }, { "k", "a", 20 }, { "k", "b", 20, "p" },
      { "a\0b\0", "x", 30, ("z"):rep(5000) } }, taken)
    assert.is_nil((t:take(1, WALL)))
    assert.is_false(t:is_short(1, WALL))
    assert.same({ huge, 5, 1 }, { t:next(1, WALL), t:next_wall(), t:count() })
  end)

  it("replace and cancel one another, whatever the clock; windows are apart", function()
    local t = create_loaded()
    t:set(1, WALL, "k", "n", 20)
    t:set(1, WINDOW, "k", "n", 7)
    assert.equal(20, t:find(1, EVENT, "k", "n"))
    t:set(1, EVENT, "k", "n", 15)
    assert.same({ 15, 15, 7 }, { t:find(1, WALL, "k", "n"), t:find(1, EVENT, "k", "n"), t:find(1, WINDOW, "k", "n") })
    assert.same({ huge, 15, 7 }, { t:next(1, WALL), t:next(1, EVENT), t:next(1, WINDOW) })
    t:cancel(1, WALL, "k", "n")
    assert.same({ NONE, NONE, 7 }, { t:find(1, WALL, "k", "n"), t:find(1, EVENT, "k", "n"), t:find(1, WINDOW, "k", "n") })
    t:cancel(1, WINDOW, "k", "n")
    assert.same({ NONE, 0 }, { t:find(1, WINDOW, "k", "n"), t:count() })
    assert.same({}, t:seal())
  end)

  it("are one argument of a command, however often they change in a batch", function()
    local t, redis = create_loaded(), new_redis()
    for i = 1, 10 do t:set(1, WALL, "k", "n", i, "p" .. i) end
    t:set(1, WALL, "gone", "n", 5, "p")
    t:cancel(1, WALL, "gone", "n")
    t:set(2, WINDOW, "k", "", 9007199254740991)
    assert.same({ { "ZADD", queue_key(1, WALL), "10", "k\0n" }, { "HSET", data_key(1), "k\0n", "p10" },
      { "ZADD", queue_key(2, WINDOW), "9007199254740991", "k\0" } }, t:seal(redis))
    t:set(1, WALL, "k", "n", 10, "p10") -- as it was
    assert.same({}, t:seal(redis))
    t:set(1, EVENT, "k", "n", 10, "p11")
    t:set(1, WALL, "k", "n", 10, "p11")
    assert.same({ { "HSET", data_key(1), "k\0n", "p11" } }, t:seal(redis))
    t:set(1, EVENT, "k", "n", 10)
    assert.same({ { "ZREM", queue_key(1, WALL), "k\0n" }, { "HDEL", data_key(1), "k\0n" },
      { "ZADD", queue_key(1, EVENT), "10", "k\0n" } }, t:seal(redis))
    t:cancel(1, WALL, "k", "n")
    assert.same({ { "ZREM", queue_key(1, EVENT), "k\0n" } }, t:seal(redis))
  end)

  it("are written in commands of at most 512 members, in the order of rule, kind and first change", function()
    local t, redis = create_loaded(), new_redis()
    for i = 1, 1025 do
      t:set(2, WINDOW, "k" .. i, "", i)
      t:set(1, EVENT, "k" .. i, "n", i, i <= 512 and "p" or nil)
    end
    t:set(1, EVENT, "k3", "n", 5000)
    local shape = {}
    for i, argv in ipairs(t:seal(redis)) do shape[i] = { argv[1], argv[2], #argv - 2, (argv[1] == "HSET" and argv[3] or argv[4]) } end
    assert.same({ { "ZADD", queue_key(1, EVENT), 1024, "k1\0n" }, { "ZADD", queue_key(1, EVENT), 1024, "k513\0n" },
      { "ZADD", queue_key(1, EVENT), 2, "k1025\0n" }, { "HSET", data_key(1), 1022, "k1\0n" },
      { "ZADD", queue_key(2, WINDOW), 1024, "k1\0" }, { "ZADD", queue_key(2, WINDOW), 1024, "k513\0" },
      { "ZADD", queue_key(2, WINDOW), 2, "k1025\0" } }, shape)
    for i = 1, 512 do t:cancel(1, EVENT, "k" .. i, "n") end
    local list = t:seal(redis)
    assert.same({ "ZREM", 512 }, { list[1][1], #list[1] - 2 })
    assert.same({ "HDEL", 511 }, { list[2][1], #list[2] - 2 })
    assert.equal(2, #list)
  end)

  it("keep what they gave out until the batch is over, whatever comes after", function()
    local t, out = create_loaded(), {}
    t:set(1, WALL, "k", "n", 1, "first")
    t:seal()
    for i, payload in ipairs { "second", "third", false } do
      out[i] = ffi.new "struct timer"
      t:take(1, WALL, out[i])
      t:set(1, WALL, "k", "n", 1 + i, payload or nil)
    end
    t:cancel(1, WALL, "k", "n")
    for i, payload in ipairs { "first", "second", "third" } do
      assert.same({ "k", "n", payload, i }, { ffi.string(out[i].key, out[i].key_len), ffi.string(out[i].name, out[i].name_len),
        ffi.string(out[i].payload, out[i].payload_len), out[i].due_ms })
    end
    t:discard()
    assert.same({ "k", "n", 1, "first" }, { t:take(1, WALL) })
  end)

  it("are as before the batch after a discard, which the batch may go on from", function()
    local t, redis = create_loaded(), new_redis()
    t:set(1, WALL, "a", "n", 10, "p")
    t:set(1, EVENT, "b", "n", 20)
    t:seal(redis)
    for _ = 1, 2 do
      t:set(1, EVENT, "a", "n", 5)
      t:cancel(1, EVENT, "b", "n")
      t:set(1, WALL, "c", "n", 1, "x")
      t:take(1, WALL)
      t:discard()
      assert.same({}, t:commands())
      assert.same({ 10, 20, 10, 2, NONE },
        { t:next(1, WALL), t:next(1, EVENT), t:next_wall(), t:count(), t:find(1, WALL, "c", "n") })
    end
    assert.same({ "a", "n", 10, "p" }, { t:take(1, WALL) })
    assert.same({ { "ZREM", queue_key(1, WALL), "a\0n" }, { "HDEL", data_key(1), "a\0n" } }, t:seal(redis))
    t:discard() -- nothing is left to undo
    assert.same({ huge, 20 }, { t:next_wall(), t:next(1, EVENT) })
  end)

  it("are due at whole ms that Redis keeps exactly", function()
    local t, redis = create_loaded(), new_redis()
    for i, case in ipairs { { 10.9, "10" }, { -0.5, "-1" }, { 0, "0" }, { 2 ^ 53, "9007199254740992" }, { 1e300, "9007199254740992" },
      { -1e300, "-9007199254740992" }, { 0 / 0, "-9007199254740992" }, { 1795359845123, "1795359845123" } } do
      t:set(1, WINDOW, "k" .. i, "", case[1])
      assert.same({ { "ZADD", queue_key(1, WINDOW), case[2], member("k" .. i, "") } }, t:seal(redis))
      assert.equal(tonumber(case[2]), t:find(1, WINDOW, "k" .. i, ""))
    end
  end)

  it("of queues that are not attended go to Redis, and are not known here", function()
    local t, redis = create_loaded(), new_redis()
    t:set(3, WALL, "k", "n", 10, "p")
    assert.same({ 10, 10 }, { t:find(3, WALL, "k", "n"), t:find(3, EVENT, "k", "n") })
    assert.is_false(t:is_short(3, WALL))
    assert.is_nil((t:take(3, WALL)))
    assert.same({ { "ZADD", queue_key(3, WALL), "10", "k\0n" }, { "HSET", data_key(3), "k\0n", "p" },
      { "ZREM", queue_key(3, EVENT), "k\0n" } }, t:seal(redis))
    assert.same({ UNKNOWN, 0, huge }, { t:find(3, WALL, "k", "n"), t:count(), t:next_wall() })
    t:cancel(3, EVENT, "k", "n")
    assert.equal(NONE, t:find(3, WALL, "k", "n"))
    assert.same({ { "ZREM", queue_key(3, WALL), "k\0n" }, { "HDEL", data_key(3), "k\0n" },
      { "ZREM", queue_key(3, EVENT), "k\0n" } }, t:seal(redis))
    assert.same({}, t:wants())
    t:set(3, WALL, "k", "n", 10)
    t:seal(redis)
    t:attend(3, WALL, true)
    assert.same({ -huge, -huge }, { t:next(3, WALL), t:next_wall() })
    t:load(redis)
    assert.same({ 10, 10 }, { t:next(3, WALL), t:next_wall() })
    t:attend(3, WALL, false)
    assert.same({ huge, huge, 0, UNKNOWN }, { t:next(3, WALL), t:next_wall(), t:count(), t:find(3, WALL, "k", "n") })
  end)

  it("of all rules give the next wall time", function()
    local t = create_loaded()
    t:set(1, WALL, "a", "n", 30)
    t:set(2, WALL, "b", "n", 20)
    t:set(1, EVENT, "c", "n", 1)
    t:set(1, WINDOW, "d", "", 2)
    assert.equal(20, t:next_wall())
    t:set(2, WALL, "b", "n", 40)
    assert.equal(30, t:next_wall())
    t:take(1, WALL)
    assert.equal(40, t:next_wall())
    t:cancel(2, WALL, "b", "n")
    assert.equal(huge, t:next_wall())
    t:discard()
    assert.equal(huge, t:next_wall())
  end)

  it("are looked at without taking them, the earliest first", function()
    local t, out, seen = create_loaded(), ffi.new "struct timer", {}
    for i = 1, 50 do t:set(1, WALL, "k" .. i, "n", 100 - i, i % 2 == 0 and "p" .. i or nil) end
    for number = 0, 49 do
      assert.is_true(C.timers_peek(t.handle, 1, WALL, number, out))
      if number == 0 then assert.equal(50, out.due_ms) end
      seen[ffi.string(out.key, out.key_len)] = true
    end
    for i = 1, 50 do assert.is_true(seen["k" .. i]) end
    assert.is_false(C.timers_peek(t.handle, 1, WALL, 50, out))
    assert.is_false(C.timers_peek(t.handle, 77, WALL, 0, out))
    assert.equal(50, t:count())
  end)
end)

describe("loading", function()
  it("asks for pages as they are needed, also in the middle of a tie", function()
    local t, redis, expected = create(), new_redis(), {}
    for i = 1, 3 * PAGE + 10 do
      local key = ("k%05d"):format(i)
      local due = i <= 100 and i or 1000
      redis:ZADD(queue_key(1, WALL), tostring(due), member(key, "n"))
      expected[i] = key
    end
    t:attend(1, WALL, true)
    assert.same({ -huge, -huge, UNKNOWN }, { t:next(1, WALL), t:next_wall(), t:find(1, WALL, "k00001", "n") })
    assert.is_true(t:is_short(1, WALL))
    assert.is_nil((t:take(1, WALL)))
    local taken, rounds = {}, 0
    repeat
      rounds = rounds + #t:load_once(redis)
      t:begin()
      local key = t:take(1, WALL)
      while key do
        taken[#taken + 1] = key
        key = t:take(1, WALL)
      end
      t:seal(redis)
    until not t:is_short(1, WALL)
    assert.same(expected, taken)
    assert.equal(5, rounds) -- HLEN and four pages
    assert.same({}, redis:value(queue_key(1, WALL)))
  end)

  -- `count` wall timers of rule 1, due at 1000 + i, in Redis; and `payload` .. i for each.
  local function filled(count, payload)
    local redis = new_redis()
    for i = 1, count do
      redis:ZADD(queue_key(1, WALL), tostring(1000 + i), member("k" .. i, "n"))
      if payload then redis:HSET(data_key(1), member("k" .. i, "n"), payload .. i) end
    end
    return redis
  end

  local function created(redis)
    local t = create()
    t:attend(1, WALL, true)
    t:attend(1, EVENT, true)
    if redis then t:load(redis) end
    return t
  end

  it("asks as Redis is to be asked", function()
    local t = create()
    for kind = WALL, WINDOW do t:attend(1, kind, true) end
    t:attend(2, WINDOW, true)
    local function page(rule, kind)
      return { "ZRANGEBYSCORE", queue_key(rule, kind), "-inf", "+inf", "WITHSCORES", "LIMIT", "0", tostring(PAGE) }
    end
    assert.same({ { "HLEN", data_key(1) }, page(1, WALL), page(1, EVENT), page(1, WINDOW), page(2, WINDOW) }, t:wants())
  end)

  it("goes on before all is taken, and not earlier than needed", function()
    local redis = filled(PAGE + 700)
    local t = created(redis)
    assert.equal(PAGE, t:count())
    for _ = 1, PAGE - PAGE / 4 do assert(t:take(1, WALL)) end
    t:seal(redis)
    assert.same({}, t:wants())
    t:take(1, WALL)
    t:seal(redis)
    assert.same({ { "ZRANGEBYSCORE", queue_key(1, WALL), tostring(1000 + PAGE), "+inf", "WITHSCORES", "LIMIT", "1",
      tostring(PAGE) } }, (t:load_once(redis)))
    assert.equal(PAGE / 4 - 1 + 700, t:count())
    assert.same({}, t:wants())
  end)

  it("leaves what is beyond the horizon to Redis", function()
    local redis = filled(PAGE + 700)
    local t = created(redis)
    assert.same({ 1001, UNKNOWN, UNKNOWN },
      { t:find(1, WALL, "k1", "n"), t:find(1, WALL, "k2500", "n"), t:find(1, WALL, "none", "n") })
    t:set(1, WALL, "k2000", "n", 3000) -- the last one that is known, as it was
    assert.same({}, t:seal(redis))
    assert.equal(3000, t:find(1, WALL, "k2000", "n"))
    t:set(1, WALL, "k2500", "n", 99999)
    t:set(1, WALL, "zfar", "n", 1000 + PAGE) -- behind the last one of the page
    t:set(1, WALL, "a", "n", 1000 + PAGE) -- before it
    t:set(1, WALL, "k1", "n", 88888)
    t:cancel(1, WALL, "none", "n")
    t:set(1, WALL, "k2600", "n", 1)
    t:cancel(1, WALL, "k2600", "n")
    assert.same({ 99999, 1000 + PAGE, NONE, PAGE },
      { t:find(1, WALL, "k2500", "n"), t:find(1, WALL, "zfar", "n"), t:find(1, WALL, "none", "n"), t:count() })
    local list = t:seal(redis)
    assert.same({ "ZREM", queue_key(1, WALL), "none\0n", "k2600\0n" }, list[1])
    assert.same({ "ZADD", queue_key(1, WALL), "99999", "k2500\0n", tostring(1000 + PAGE), "zfar\0n", tostring(1000 + PAGE),
      "a\0n", "88888", "k1\0n" }, list[2])
    assert.same({ UNKNOWN, UNKNOWN, UNKNOWN, 1000 + PAGE },
      { t:find(1, WALL, "k2500", "n"), t:find(1, WALL, "zfar", "n"), t:find(1, WALL, "k1", "n"), t:find(1, WALL, "a", "n") })
    for _ = 1, PAGE do t:take(1, WALL) end
    assert.same({ true, 1000 + PAGE }, { t:is_short(1, WALL), t:next(1, WALL) })
    t:seal(redis)
    t:load(redis)
    assert.same({ "zfar", "n", 1000 + PAGE }, { t:take(1, WALL) })
  end)

  it("forgets what is far beyond use when a batch begins", function()
    local t, redis = created(new_redis()), new_redis()
    t:begin()
    for i = 1, 4 * PAGE + 1 do t:set(1, WALL, "k" .. i, "n", math.ceil(i / 10)) end
    assert.equal(NONE, t:find(1, WALL, "none", "n"))
    t:discard()
    for i = 1, 4 * PAGE + 1 do t:set(1, WALL, "k" .. i, "n", math.ceil(i / 10)) end
    for _, argv in ipairs(t:commands()) do redis:run(argv) end
    C.timers_seal(t.handle)
    assert.equal(4 * PAGE + 1, t:count())
    t:begin()
    assert.same({ 2 * PAGE, UNKNOWN }, { t:count(), t:find(1, WALL, "none", "n") })
    local taken = 0
    for _ = 1, 5 do
      while t:take(1, WALL) do taken = taken + 1 end
      t:seal(redis)
      t:load(redis)
    end
    assert.same({ 4 * PAGE + 1, huge }, { taken, t:next(1, WALL) })
  end)

  it("asks for payloads only when there are any, and fires only with them", function()
    local t = created(filled(10))
    assert.same({ "k1", "n", 1001 }, { t:take(1, WALL) })
    assert.equal(9, t:count())

    local redis = filled(600, "p")
    t = created()
    assert.equal(3, #t:load_once(redis)) -- HLEN and two pages
    assert.same({ true, 1001, 1003 }, { t:is_short(1, WALL), t:next(1, WALL), t:find(1, WALL, "k3", "n") })
    t:begin()
    assert.is_nil((t:take(1, WALL)))
    t:set(1, WALL, "k1", "n", 1001) -- its payload in Redis is of no use any more
    assert.same({ "k1", "n", 1001 }, { t:take(1, WALL) })
    assert.is_nil((t:take(1, WALL)))
    t:cancel(1, WALL, "k5", "n")
    assert.same({ { "ZREM", queue_key(1, WALL), "k1\0n", "k5\0n" }, { "HDEL", data_key(1), "k1\0n", "k5\0n" } }, t:seal(redis))
    local list = t:load_once(redis)
    assert.same({ "HMGET", MOST }, { list[1][1], #list[1] - 2 })
    assert.same({ "HMGET", 598 - MOST }, { list[2][1], #list[2] - 2 })
    for _, i in ipairs { 2, 3, 4, 6 } do assert.same({ "k" .. i, "n", 1000 + i, "p" .. i }, { t:take(1, WALL) }) end
  end)

  it("asks for payloads once this process has set one", function()
    local redis = filled(PAGE)
    local t = created(redis)
    t:set(1, WALL, "far", "n", 99999, "p")
    t:seal(redis)
    while t:take(1, WALL) do end
    t:seal(redis)
    t:load(redis)
    assert.same({ "far", "n", 99999, "p" }, { t:take(1, WALL) })
  end)

  it("counts what is no queue of ours as empty, and says so", function()
    local redis = new_redis()
    redis.keys[queue_key(1, WALL)], redis.keys[data_key(2)] = "text", "text"
    redis:ZADD(queue_key(2, WALL), "5", member("k", "n"))
    local t = create()
    t:attend(1, WALL, true)
    t:attend(2, WALL, true)
    assert.is_false(t:load(redis))
    assert.same({ huge, 5 }, { t:next(1, WALL), t:next(2, WALL) })
    assert.same({ "k", "n", 5 }, { t:take(2, WALL) })
    for _, bytes in ipairs { ":1\r\n", "*1\r\n$1\r\na\r\n", "*2\r\n$3\r\na\0n\r\n:1\r\n", "$-1\r\n", "*2\r\n$-1\r\n$1\r\n1\r\n" } do
      t = create()
      t:attend(1, WINDOW, true)
      assert.equal(1, #t:wants())
      assert.is_false(t:reply(0, bytes))
      assert.same({ huge, false }, { t:next(1, WINDOW), t:is_short(1, WINDOW) })
    end
  end)

  it("passes members that are not ours, however many", function()
    local redis, expected = new_redis(), {}
    for i = 1, 2 * PAGE + 100 do redis:ZADD(queue_key(1, WALL), "50", "junk" .. i) end
    for i = 1, PAGE + 1 do
      expected[i] = ("jv%05d"):format(i)
      redis:ZADD(queue_key(1, WALL), "50", member(expected[i], "n"))
      redis:ZADD(queue_key(1, WALL), i % 2 == 0 and "49.5" or "inf", "z" .. i)
    end
    local t, taken, fine = create(), {}, true
    t:attend(1, WALL, true)
    repeat
      if not t:load(redis) then fine = false end
      t:begin()
      local key, _, due = t:take(1, WALL)
      while key do
        assert.equal(50, due)
        taken[#taken + 1] = key
        key, _, due = t:take(1, WALL)
      end
      t:seal(redis)
    until not t:is_short(1, WALL)
    assert.is_false(fine)
    assert.same(expected, taken)
  end)

  it("takes scores as they are", function()
    local redis = new_redis()
    for i, score in ipairs { "1.5", "1e300", "-3", "inf" } do redis:ZADD(queue_key(1, WALL), score, member("k" .. i, "n")) end
    local t = created(redis)
    assert.same({ "k3", "n", -3 }, { t:take(1, WALL) })
    assert.same({ "k1", "n", 1.5 }, { t:take(1, WALL) })
    assert.same({ "k2", "n", 1e300 }, { t:take(1, WALL) })
    assert.same({ "k4", "n", huge }, { t:take(1, WALL) })
    t:discard()
    t:set(1, WALL, "k1", "n", 1)
    assert.same({ { "ZADD", queue_key(1, WALL), "1", "k1\0n" } }, t:seal(redis))
  end)

  it("is harmless when a page has what is here", function()
    local redis = filled(PAGE + 10)
    local t = created(redis)
    for _ = 1, PAGE - 10 do t:take(1, WALL) end
    t:seal(redis)
    t:wants()
    assert.is_true(t:reply(0, redis:ZRANGEBYSCORE(queue_key(1, WALL), "-inf", "+inf", "WITHSCORES", "LIMIT", 0, PAGE)))
    assert.equal(20, t:count())
    for i = PAGE - 9, PAGE + 10 do assert.same({ "k" .. i, "n", 1000 + i }, { t:take(1, WALL) }) end
    assert.same({ false, huge }, { t:is_short(1, WALL), t:next(1, WALL) })
  end)

  it("does not use answers from before a change, a drop, or another attendance", function()
    local redis = filled(3)
    for _, change in ipairs {
      function(t) t:set(1, WALL, "k1", "n", 5) end,
      function(t) t:cancel(1, EVENT, "k1", "n") t:seal(redis) end,
      function(t) t:drop() end,
      function(t) t:attend(1, WALL, false) t:attend(1, WALL, true) end,
    } do
      local t, replies = created(), {}
      for i, argv in ipairs(t:wants()) do replies[i] = redis:run(argv) end
      change(t)
      for i, bytes in ipairs(replies) do assert.is_true(t:reply(i - 1, bytes)) end
      assert.same({ -huge, 0, true }, { t:next(1, WALL), t:count(), t:is_short(1, WALL) })
      assert.is_true(t:reply(77, ":0\r\n"))
    end
  end)

  it("begins anew after a drop, also of an open batch; what is attended stays", function()
    local redis = filled(5, "p")
    local t = created(redis)
    t:take(1, WALL)
    t:set(1, WALL, "k3", "n", 7, "q")
    t:drop()
    assert.same({ -huge, -huge, 0, UNKNOWN }, { t:next(1, WALL), t:next_wall(), t:count(), t:find(1, WALL, "k3", "n") })
    assert.same({}, t:commands())
    t:load(redis)
    assert.same({ "k1", "n", 1001, "p1" }, { t:take(1, WALL) })
  end)
end)

-- ── against a model ──

-- What is pending, in plain tables: by queue ("rule:kind"), by member.
local Model = {}
Model.__index = Model

local function new_model()
  return setmetatable({ queues = {}, heaps = {}, undo = {} }, Model)
end

function Model:queue(rule, kind)
  local place = rule * 3 + kind
  self.queues[place] = self.queues[place] or {}
  return self.queues[place]
end

function Model:put(queue, key, timer)
  self.undo[#self.undo + 1] = { queue, key, queue[key] or false }
  queue[key] = timer
  if timer then self:push(queue, timer) end
end

function Model:set(rule, kind, key, name, due, payload)
  local text = member(key, name)
  if kind ~= WINDOW then self:cancel(rule, kind, key, name) end
  self:put(self:queue(rule, kind), text, { due = due, key = key, name = name, payload = payload, member = text })
end

function Model:cancel(rule, kind, key, name)
  local text = member(key, name)
  for each = kind == WINDOW and WINDOW or WALL, kind == WINDOW and WINDOW or EVENT do
    if self:queue(rule, each)[text] then self:put(self:queue(rule, each), text, nil) end
  end
end

function Model:find(rule, kind, key, name)
  local text = member(key, name)
  if kind == WINDOW then return self:queue(rule, kind)[text] end
  return self:queue(rule, WALL)[text] or self:queue(rule, EVENT)[text]
end

local function is_before(a, b)
  return a.due < b.due or a.due == b.due and a.member < b.member
end

-- The earliest of each queue: a heap of all that ever came, from which `first` takes what is not pending any more.
function Model:push(queue, timer)
  local heap = self.heaps[queue] or {}
  self.heaps[queue] = heap
  local at = #heap + 1
  while at > 1 and is_before(timer, heap[math.floor(at / 2)]) do
    heap[at] = heap[math.floor(at / 2)]
    at = math.floor(at / 2)
  end
  heap[at] = timer
end

local function pop(heap)
  local last, at = table.remove(heap), 1
  while at * 2 <= #heap do
    local child = at * 2
    if child < #heap and is_before(heap[child + 1], heap[child]) then child = child + 1 end
    if not is_before(heap[child], last) then break end
    heap[at] = heap[child]
    at = child
  end
  if #heap > 0 then heap[at] = last end
end

function Model:first(rule, kind)
  local queue = self:queue(rule, kind)
  local heap = self.heaps[queue]
  while heap and heap[1] and queue[heap[1].member] ~= heap[1] do pop(heap) end
  return heap and heap[1]
end

function Model:discard()
  for i = #self.undo, 1, -1 do
    local queue, key, timer = unpack(self.undo[i])
    queue[key] = timer or nil
    if timer then self:push(queue, timer) end
  end
  self.undo = {}
end

-- Redis holds exactly this.
function Model:compare(redis, where)
  for rule = 0, 3 do
    local payloads = {}
    for kind = WALL, WINDOW do
      local zset, pending = redis:value(queue_key(rule, kind)), self:queue(rule, kind)
      for text, timer in pairs(pending) do
        assert(zset[text] == timer.due, "Redis has another due time, " .. where)
        payloads[text] = payloads[text] or timer.payload
      end
      for text in pairs(zset) do assert(pending[text], "Redis has too many, " .. where) end
    end
    local hash = redis:value(data_key(rule))
    for text, payload in pairs(payloads) do assert(hash[text] == payload, "Redis has another payload, " .. where) end
    for text in pairs(hash) do assert(payloads[text], "Redis has an orphan, " .. where) end
  end
end

describe("timers against a model", function()
  -- options: keys (how many), is_wide (all as often), fill (timers that Redis has at first), rounds, spread (of due times),
  -- changes (most in a batch), and of ten: payloads, takes (1 … 3)
  local function play(seed, options)
    local draw, where = runtime.generator(seed), "seed " .. seed
    local t, redis, model = create(), new_redis(), new_model()
    local clock, counts = 1000, { taken = 0, short = 0, unknown = 0, known = 0, stale = 0, discarded = 0, cut = 0 }
    local attended = {}

    local function key_of(i)
      return (i % 13 == 0 and "a\0b" or i % 7 == 0 and "\0" or "k") .. i
    end

    local function payload_of()
      return draw(10) <= options.payloads and ("p"):rep(draw(40) - 1) .. draw(1000) or nil
    end

    for i = 1, options.fill do
      local kind = draw(20) == 1 and EVENT or draw(20) == 1 and WINDOW or WALL
      model:set(1, kind, key_of(i), "n", clock + draw(options.spread), kind ~= WINDOW and payload_of() or nil)
    end
    for rule = 0, 3 do
      for kind = WALL, WINDOW do
        for text, timer in pairs(model:queue(rule, kind)) do
          redis:value(queue_key(rule, kind))[text] = timer.due
          if timer.payload then redis:value(data_key(rule))[text] = timer.payload end
        end
      end
    end
    model.undo = {}

    local function attend(rule, kind, is)
      attended[rule * 3 + kind] = is
      t:attend(rule, kind, is)
    end
    for rule = 1, 2 do
      for kind = WALL, WINDOW do attend(rule, kind, true) end
    end

    -- What nexts say is never later than what is pending, and exact where enough is known.
    local function compare_nexts()
      local least = huge
      for rule = 1, 2 do
        for kind = WALL, WINDOW do
          local next_ms = t:next(rule, kind)
          if attended[rule * 3 + kind] then
            local first = model:first(rule, kind)
            assert(next_ms <= (first and first.due or huge), where)
            assert(t:is_short(rule, kind) or next_ms == (first and first.due or huge), where)
          else
            assert(next_ms == huge and not t:is_short(rule, kind), where)
          end
          if kind == WALL then least = math.min(least, next_ms) end
        end
      end
      assert(t:next_wall() == least, where)
    end

    local function draw_timer()
      local is_any = options.is_wide or draw(3) == 1
      local i = draw(is_any and options.keys or math.ceil(options.keys / 20))
      local kind = draw(4) == 1 and WINDOW or draw(3) == 1 and EVENT or WALL
      return draw(12) == 1 and draw(4) - 1 or 1, kind, key_of(i), draw(5) == 1 and "m" or "n"
    end

    local function set()
      local rule, kind, key, name = draw_timer()
      local far = draw(3)
      local due = clock + (far == 1 and draw(3) or far == 2 and draw(options.spread) or options.spread + draw(options.spread))
      local payload = kind ~= WINDOW and payload_of() or nil
      local old = model:find(rule, kind, key, name)
      if old and draw(4) == 1 then due, payload = old.due, old.payload end
      t:set(rule, kind, key, name, due, payload)
      model:set(rule, kind, key, name, due, payload)
      assert(t:find(rule, kind, key, name) == due, where)
    end

    local function cancel()
      local rule, kind, key, name = draw_timer()
      t:cancel(rule, kind, key, name)
      model:cancel(rule, kind, key, name)
      assert(t:find(rule, kind, key, name) == NONE, where)
    end

    local function find()
      local rule, kind, key, name = draw_timer()
      local found, pending = t:find(rule, kind, key, name), model:find(rule, kind, key, name)
      if found == UNKNOWN then
        counts.unknown = counts.unknown + 1
      else
        counts.known = counts.known + 1
        assert(found == (pending and pending.due or NONE), where)
      end
    end

    local held = {} -- what was taken, read again at the end of the batch
    local function take()
      local rule, kind = draw(10) == 1 and 2 or 1, draw(4) == 1 and WINDOW or draw(4) == 1 and EVENT or WALL
      local first, out = model:first(rule, kind), ffi.new "struct timer"
      local key, name, due, payload = t:take(rule, kind, out)
      if not key then
        assert(not first or not attended[rule * 3 + kind] or t:is_short(rule, kind), where)
        counts.short = counts.short + 1
        return
      end
      assert(first and first.key == key and first.name == name and first.due == due and first.payload == payload, where)
      model:put(model:queue(rule, kind), first.member, nil)
      held[#held + 1] = { out, first }
      clock = math.max(clock, due)
      counts.taken = counts.taken + 1
    end

    local function compare_held()
      for _, one in ipairs(held) do
        local out, first = one[1], one[2]
        assert(ffi.string(out.key, out.key_len) == first.key and ffi.string(out.name, out.name_len) == first.name, where)
        assert((out.payload ~= nil and ffi.string(out.payload, out.payload_len) or nil) == first.payload, where)
      end
      held = {}
    end

    local function batch()
      for _ = 1, draw(options.changes) do
        local what = draw(10)
        if what <= 2 then cancel() elseif what == 3 then find() elseif what <= 10 - options.takes then set() else take() end
      end
      compare_held()
      compare_nexts()
    end

    local function seal()
      for _, argv in ipairs(t:commands()) do assert(redis:run(argv) == ":0\r\n") end
      C.timers_seal(t.handle)
      model.undo = {}
    end

    local function discard()
      counts.discarded = counts.discarded + 1
      t:discard()
      model:discard()
    end

    -- The answers come only when a batch is under way, or over: they are not used.
    local function load_late()
      local replies = {}
      for i, argv in ipairs(t:wants()) do replies[i] = redis:run(argv) end
      batch()
      local is_sealed = draw(2) == 1
      if is_sealed then seal() end
      for i, bytes in ipairs(replies) do assert(t:reply(i - 1, bytes), where) end
      counts.stale = counts.stale + #replies
      if not is_sealed then discard() end
    end

    for round = 1, options.rounds do
      local count = t:count()
      t:begin()
      if t:count() < count then counts.cut = counts.cut + 1 end
      batch()
      local ending = draw(10)
      if ending == 1 then
        discard()
        batch()
        discard()
      elseif ending == 2 then
        discard()
      elseif ending == 3 and not options.is_wide and draw(2) == 1 then
        t:drop()
        model:discard()
      else
        seal()
      end
      compare_nexts()
      local loading = draw(8)
      if loading == 1 then
        load_late()
      elseif loading == 2 then
        assert(select(2, t:load_once(redis)), where)
      elseif loading > 3 then
        assert(t:load(redis), where)
        for rule = 1, 2 do
          for kind = WALL, WINDOW do assert(not t:is_short(rule, kind), where) end
        end
      end
      compare_nexts()
      if draw(40) == 1 then
        local kind = draw(3) - 1
        attend(2, kind, not attended[6 + kind])
      end
      clock = clock + draw(options.spread) / options.rounds
      clock = clock - clock % 1
      if round % 20 == 0 then model:compare(redis, where) end
      redis.log = {}
    end

    -- All that is left is taken in order.
    repeat
      t:load(redis)
      t:begin()
      while t:take(1, WALL) do
        model:put(model:queue(1, WALL), model:first(1, WALL).member, nil)
        if draw(300) == 1 then break end
      end
      seal()
    until not model:first(1, WALL)
    model:compare(redis, where)
    return counts
  end

  local function add(sums, counts)
    for name, count in pairs(counts) do sums[name] = (sums[name] or 0) + count end
  end

  -- That what is to be shown has happened at all.
  local function expect_most(sums, least)
    for name, count in pairs(least) do
      assert.is_true(sums[name] > count, ("%s: only %d"):format(name, sums[name]))
    end
  end

  it("take in order, and leave in Redis what they say, over few timers", function()
    local seed, sums = runtime.seed(), {}
    print("timers_spec: seed " .. seed)
    for i = 0, 19 do
      add(sums, play(seed + i, { keys = 30, fill = i % 2 * 20, rounds = 150, spread = 40, payloads = i % 4 * 2, changes = 30,
        takes = 3 }))
    end
    expect_most(sums, { taken = 5000, short = 1000, known = 2000, unknown = 100, stale = 100, discarded = 500 })
  end)

  it("take in order, and leave in Redis what they say, over many pages", function()
    local seed, sums = runtime.seed(), {}
    for i = 0, 3 do
      local is_full = i % 2 == 0
      add(sums, play(seed + i, { keys = is_full and 14000 or 60000, fill = is_full and 12000 or 0, rounds = 60,
        spread = i < 2 and 20 or 5000, payloads = i, changes = is_full and 200 or 2500, takes = is_full and 3 or 1,
        is_wide = not is_full }))
    end
    expect_most(sums, { taken = 5000, short = 500, known = 1000, unknown = 500, discarded = 20, cut = 0 })
  end)
end)
