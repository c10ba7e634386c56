-- context.lua: `ctx`, what a handler is given: the state and key of this call, and functions to have effects.
local ffi = require "tidemill.cdef"
local call = require "tidemill.call"
local pack = require "tidemill.pack"
local value = require "tidemill.value"

local context = {}

local copy = ffi.copy
local floor, type = math.floor, type
local pack_table, packed = pack.table, pack.bytes()

local function now_running(name, level)
  local p = call.partition
  if not p then error(("ctx.%s is only valid during the call of a handler"):format(name), level + 1) end
  return p
end

-- ── effects ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local MAP_HEADS = { fix = 0x80, fix_last = 0x8f, map16 = 0xde, map32 = 0xdf }

-- The bytes of an XADD up to the length of its payload; made once per rule and stream.
local function xadd_head(K, stream, level)
  if type(stream) ~= "string" or stream == "" then
    error("ctx.emit(stream, table): the stream must be a name, it is a " .. type(stream), level + 1)
  end
  if stream:sub(1, 9) == "tidemill:" then
    error(("ctx.emit: '%s': keys that start with tidemill: are the engine's own"):format(stream), level + 1)
  end
  local output = K.outputs and K.outputs[stream] or {}
  local words = { "XADD", stream }
  if output.maxlen then
    words[3], words[4], words[5] = "MAXLEN", "~", ("%d"):format(output.maxlen)
  end
  words[#words + 1], words[#words + 2] = "*", "data"
  local parts = { ("*%d\r\n"):format(#words + 1) }
  for _, word in ipairs(words) do parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#word, word) end
  return { bytes = table.concat(parts) .. "$", is_json = output.codec == "json" }
end

local function put_decimal(at, n)
  if n >= 100000 then
    local text = ("%d"):format(n)
    copy(at, text, #text)
    return at + #text
  end
  if n >= 10000 then
    at[0] = 48 + floor(n / 10000)
    at = at + 1
  end
  if n >= 1000 then
    at[0] = 48 + floor(n / 1000) % 10
    at = at + 1
  end
  if n >= 100 then
    at[0] = 48 + floor(n / 100) % 10
    at = at + 1
  end
  if n >= 10 then
    at[0] = 48 + floor(n / 10) % 10
    at = at + 1
  end
  at[0] = 48 + n % 10
  return at + 1
end

-- Counts an effect of this call against the limits, and says whether Redis refused it before (then it is left out).
local function admit(K, R, p, len)
  local ordinal = call.ordinal + 1
  call.ordinal = ordinal
  call.bytes = call.bytes + len
  if ordinal > K.limits.effects then
    call.leave("output", ("more than %d effects for one event (limits.effects)"):format(K.limits.effects))
  elseif call.bytes > K.limits.effect_bytes then
    call.leave("output", ("more than %d bytes of effects for one event (limits.effect_kb)"):format(K.limits.effect_bytes))
  end
  return p.refused == nil or not K.host.is_refused(p, R, ordinal)
end

-- One more record behind the bytes that were just written to `out`.
local function record(K, R, c, start)
  local n = c.effect_count
  if n == c.effect_cap then K.host.grow_effects(c) end
  local effect = c.effects[n]
  effect.at, effect.len = start, c.out.len - start
  effect.entry, effect.rule, effect.ordinal = c.at_entry, R.index, call.ordinal
  c.effect_count = n + 1
end

local function emitter(K, R)
  local heads, reserve = {}, K.host.reserve
  return function(stream, t)
    local p = call.partition
    if p == nil then now_running("emit", 2) end
    local head = heads[stream]
    if head == nil then
      head = xadd_head(K, stream, 2)
      heads[stream] = head
    end
    if type(t) ~= "table" then error(("ctx.emit(%q, table): what is emitted must be a table, it is a %s"):format(stream, type(t)), 2) end
    local len, why = pack_table(t)
    if not len then error(("ctx.emit(%q, ...): the table cannot be encoded: %s"):format(stream, why), 2) end
    local first = packed[0]
    if not (first >= MAP_HEADS.fix and first <= MAP_HEADS.fix_last) and first ~= MAP_HEADS.map16 and first ~= MAP_HEADS.map32 then
      error(("ctx.emit(%q, ...): the table must have named fields, it is an array"):format(stream), 2)
    end
    local payload = packed
    if head.is_json then
      payload = K.host.to_json(packed, len)
      len = #payload
    end
    local c, bytes = p.c, head.bytes
    if not admit(K, R, p, len) then return end
    if p.tracks_writes then K.note_write(p, stream) end
    local out = c.out
    if out.cap - out.len < #bytes + len + 16 then reserve(out, #bytes + len + 16) end
    local start = out.len
    local at = out.data + start
    copy(at, bytes, #bytes)
    at = put_decimal(at + #bytes, len)
    at[0], at[1] = 13, 10
    copy(at + 2, payload, len)
    at = at + 2 + len
    at[0], at[1] = 13, 10
    out.len = at + 2 - out.data
    record(K, R, c, start)
  end
end

-- ── ctx.redis ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function argument_text(v)
  if type(v) == "boolean" or v == nil then return nil end
  return value.key_text(v)
end

local function write_effect(K, R, p, argv, keys)
  local parts, len = { ("*%d\r\n"):format(#argv) }, 0
  for n, word in ipairs(argv) do
    parts[n + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
    len = len + #word
  end
  if not admit(K, R, p, len) then return end
  if p.tracks_writes then
    for _, key in ipairs(keys) do K.note_write(p, key) end
  end
  local c, bytes = p.c, table.concat(parts)
  K.host.reserve(c.out, #bytes)
  local start = c.out.len
  copy(c.out.data + start, bytes, #bytes)
  c.out.len = start + #bytes
  record(K, R, c, start)
end

-- Waits for the answer; the batch goes on with other keys meanwhile.
local function read_answer(K, R, p, argv, keys, level)
  if not p.tracks_writes then
    -- What was written before in this batch went unnoticed: the batch is run again with the eyes open.
    p.tracks_writes = true
    p.wants_again = p.c.effect_count > 0
  end
  if not R.asks or not call.task then
    R.asks = true
    call.leave "redo"
  end
  local ok, answer, refusal = pcall(coroutine.yield, call.ASK, { argv = argv, keys = #keys > 0 and keys or nil })
  if not ok then
    if call.unwind then error(call.UNWIND, 0) end
    error(("ctx.redis.%s: a lookup cannot wait inside a callback of table.sort or string.gsub; ask before")
      :format(argv[1]:lower()), level + 1)
  end
  if refusal then error(("ctx.redis.%s: %s"):format(argv[1]:lower(), refusal), level + 1) end
  return answer
end

local function redis_proxy(K, R)
  local commands = {}
  return setmetatable({}, {
    __metatable = "redis",
    __newindex = function() error("ctx.redis cannot be written", 2) end,
    __index = function(_, name)
      local command = commands[name]
      if command then return command end
      if type(name) ~= "string" or not name:match "^[%a_]+$" then error("ctx.redis: no command of this name", 2) end
      command = function(...)
        local p = now_running("redis", 2)
        local argv = { name:upper() }
        for n = 1, select("#", ...) do
          local text = argument_text((select(n, ...)))
          if not text then
            error(("ctx.redis.%s: argument %d must be a string or a number, it is a %s"):format(name, n, type((select(n, ...)))), 2)
          end
          argv[n + 1] = text
        end
        local kind, keys = K.host.check_command(p.c, argv)
        if not kind then error(("ctx.redis.%s: %s"):format(name, keys), 2) end
        if kind == "write" then return write_effect(K, R, p, argv, keys) end
        return read_answer(K, R, p, argv, keys, 2)
      end
      commands[name] = command
      return command
    end,
  })
end

-- ── the table itself ────────────────────────────────────────────────────────────────────────────────────────────────────

local LATE = {} -- fields that are only made when a handler looks at them

function LATE.id(K, R, p)
  local entry = p.c.entries[p.c.at_entry]
  return ("%.0f-%s"):format(entry.ms, (tostring(entry.seq):gsub("ULL$", "")))
end

function LATE.stream(K, R, p)
  return K.stream_names[p.c.entries[p.c.at_entry].stream]
end

function LATE.now(K, R, p)
  return p.c.entries[p.c.at_entry].ms
end

-- The first look at the state by a rule that never used it: from now on its state is loaded before its handler runs.
function LATE.state(K, R, p)
  if R.uses_state then return nil end
  R.uses_state = true
  return call.leave "redo"
end

local function log_functions(K, R)
  local log = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    log[level] = function(...)
      local parts = {}
      for n = 1, select("#", ...) do parts[n] = tostring((select(n, ...))) end
      K.host.log(level, R.name, table.concat(parts, " "))
    end
  end
  return setmetatable({}, { __index = log, __metatable = "log", __newindex = function() error("ctx.log cannot be written", 2) end })
end

---A ctx for one rule. `state` and `key` are set by the kernel before each call; all else is behind the metatable, where a rule
---can neither change nor shadow it.
function context.create(K, R)
  local api = {
    emit = emitter(K, R),
    redis = redis_proxy(K, R),
    log = log_functions(K, R),
    dead = function(message)
      now_running("dead", 2)
      return call.leave("dead", type(message) == "string" and message or tostring(message))
    end,
    reason = function(text)
      now_running("reason", 2)
      if K.host.reason then K.host.reason(R, tostring(text)) end
    end,
  }
  return setmetatable({}, {
    __metatable = "ctx",
    __index = function(_, name)
      local member = api[name]
      if member ~= nil then return member end
      local late = LATE[name]
      if late then return late(K, R, now_running(name, 2)) end
      if name == "key" then return nil end
      error(("ctx has no field '%s'"):format(tostring(name)), 2)
    end,
    __newindex = function(ctx, name, v)
      if name ~= "state" then error(("ctx.%s cannot be written; only ctx.state can"):format(tostring(name)), 2) end
      if not R.uses_state then
        R.uses_state = true
        call.leave "redo"
      end
      rawset(ctx, name, v)
    end,
  })
end

return context
