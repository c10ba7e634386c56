-- context.lua: `ctx`, what a handler is given: the state and key of this call, and functions to have effects.
local call = require "tidemill.call"
local entry = require "tidemill.entry"
local environment = require "tidemill.environment"
local memory = require "tidemill.memory"
local pack = require "tidemill.pack"
local shadow = require "tidemill.shadow"
local timers = require "tidemill.timers"
local value = require "tidemill.value"

local context = {}

local type, pairs = type, require("tidemill.each").pairs
local pack_table, packed = pack.table, pack.bytes()
local text_of = environment.text_of

-- Raises with the place in the rule's own file. Not by a level: a rule may end with `return ctx.emit(…)`, and such a call leaves
-- no frame behind.
local function raise(K, message, ...)
  local text = select("#", ...) > 0 and message:format(...) or message
  for level = 2, 200 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if K.sources[info.source] then error(("%s:%d: %s"):format(info.short_src, info.currentline, text), 0) end
  end
  error(text, 0)
end

-- A ctx that a rule has kept must not work outside of its handler, nor in `when` or `key`: these run before there is a key.
local function now_running(K, name)
  local p = call.partition
  if not p or call.key == nil then raise(K, "ctx.%s is only valid during the call of a handler", name) end
  return p
end

-- ── effects ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local MAP_HEADS = { fix = 0x80, fix_last = 0x8f, map16 = 0xde, map32 = 0xdf }
local HEADS_KEPT = 1000 -- streams whose XADD is kept ready; a rule may have one for each customer

local function reads(R, stream)
  for _, matches in ipairs(R.matchers) do
    if matches(stream) then return true end
  end
  return false
end

-- An event for a stream that the rule reads itself, which will come back to it: allowed, counted, and told of once a stream.
local function feed_back(K, R, stream)
  R.fed_back = R.fed_back + 1
  R.fed_streams = R.fed_streams or {}
  if R.fed_streams[stream] then return end
  R.fed_streams[stream] = true
  if K.host.fed_back then K.host.fed_back(R, stream) end
end

-- The bytes of an XADD up to the length of its payload; made once per rule and stream.
local function xadd_head(K, R, stream)
  if type(stream) ~= "string" then
    raise(K, "ctx.emit(stream, table): the stream must be a name, it is a %s", type(stream))
  end
  if stream == "" then raise(K, "ctx.emit(stream, table): the stream's name is empty") end
  if stream:sub(1, 9) == "tidemill:" then
    raise(K, "ctx.emit: '%s': keys that start with tidemill: are the engine's own", stream)
  end
  local output = K.outputs and K.outputs[stream] or {}
  local words = { "XADD", stream }
  if output.maxlen then
    words[3], words[4], words[5] = "MAXLEN", "~", ("%d"):format(output.maxlen)
  end
  words[#words + 1], words[#words + 2] = "*", "data"
  local parts = { ("*%d\r\n"):format(#words + 1) }
  for _, word in ipairs(words) do parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#word, word) end
  return { bytes = table.concat(parts) .. "$", is_json = output.codec == "json", is_own = not R.is_shadow and reads(R, stream) }
end

-- Counts an effect of this call against the limits, and says whether Redis refused it before (then it is left out).
local function admit(K, R, p, len)
  local ordinal = call.ordinal + 1
  call.ordinal = ordinal
  call.bytes = call.bytes + len
  local most = R.limits
  if ordinal > most.effects then
    now_running(K, "emit") -- else in `when` or `key`, see step.lua
    call.leave("output", ("more than %d effects for one event (%s)"):format(most.effects, most.setting.effects))
  elseif call.bytes > most.effect_bytes then
    call.leave("output", ("more than %d bytes of effects for one event (%s)"):format(most.effect_bytes, most.setting.effect_kb))
  end
  if p.refused == nil or not K.host.is_refused(p, R, ordinal) then return true end
  if R.is_watched then shadow.note_failure(p, R, p.c.at_entry, "refused", "Redis refused an effect", "", call.key) end
  return false
end

local function emitter(K, R)
  local heads, kept, emit, note_key = {}, 0, K.host.emit, R.notes_keys and K.host.note_key
  local function keep_head(stream)
    local head = xadd_head(K, R, stream)
    if kept == HEADS_KEPT then
      for name in pairs(heads) do heads[name] = nil end
      kept = 0
    end
    heads[stream], kept = head, kept + 1
    return head
  end
  return function(stream, t)
    local p = call.partition
    if p == nil then now_running(K, "emit") end
    local head = heads[stream]
    if head == nil then head = keep_head(stream) end
    if type(t) ~= "table" then
      raise(K, "ctx.emit(%q, table): what is emitted must be a table, it is a %s", stream, type(t))
    end
    local len, why = pack_table(t)
    if not len then raise(K, "ctx.emit(%q, ...): the table cannot be encoded: %s", stream, why) end
    local first = packed[0]
    if not (first >= MAP_HEADS.fix and first <= MAP_HEADS.fix_last)
      and first ~= MAP_HEADS.map16 and first ~= MAP_HEADS.map32 then
      raise(K, "ctx.emit(%q, ...): the table must have named fields, it is an array", stream)
    end
    local payload = packed
    if head.is_json then
      payload = K.host.to_json(packed, len)
      len = #payload
    end
    local bytes = head.bytes
    if not admit(K, R, p, len) then return end
    if p.tracks_writes and not R.is_shadow then K.note_write(p, stream) end
    if head.is_own then feed_back(K, R, stream) end
    emit(p.c, R.index, call.ordinal, bytes, #bytes, payload, len)
    if note_key then note_key(p.c, call.key, #call.key) end
  end
end

-- ── ctx.redis ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function write_effect(K, R, p, argv, keys)
  local parts, len = { ("*%d\r\n"):format(#argv) }, 0
  for n, word in ipairs(argv) do
    parts[n + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
    len = len + #word
  end
  if not admit(K, R, p, len) then return end
  if p.tracks_writes and not R.is_shadow then
    for _, key in ipairs(keys) do K.note_write(p, key) end
  end
  if argv[1] == "XADD" and not R.is_shadow and reads(R, argv[2]) then feed_back(K, R, argv[2]) end
  local bytes = table.concat(parts)
  K.host.effect(p.c, R.index, call.ordinal, bytes, #bytes)
  if R.notes_keys and K.host.note_key then K.host.note_key(p.c, call.key, #call.key) end
end

-- Asks the host and waits for the answer; the batch goes on with other keys meanwhile. `what` asks, for messages.
local function wait_for(K, R, what, question)
  if not R.asks or not call.task then
    R.asks = true
    call.leave "redo"
  end
  K.mark.rule = 0 -- while it waits it does not run, and what the kernel does now is not to be broken off (kernel.lua)
  local ok, answer, refusal = pcall(coroutine.yield, call.ASK, question)
  K.mark.rule = R.index
  if not ok then
    if call.unwind then error(call.UNWIND, 0) end
    if memory.is_out(answer) then error(answer, 0) end
    raise(K, "%s: a lookup cannot wait inside a callback of table.sort or string.gsub; ask before", what)
  end
  if refusal then raise(K, "%s: %s", what, refusal) end
  return answer
end

local function read_answer(K, R, p, argv, keys)
  if not p.tracks_writes then
    -- What was written before in this batch went unnoticed: the batch is run again with the eyes open.
    p.tracks_writes = true
    p.wants_again = p.c.effect_count > 0
  end
  return (wait_for(K, R, "ctx.redis." .. argv[1]:lower(), { argv = argv, keys = #keys > 0 and keys or nil }))
end

local function redis_proxy(K, R)
  local commands = {}
  return setmetatable({}, {
    __metatable = "redis",
    __newindex = function() raise(K, "ctx.redis cannot be written") end,
    __index = function(_, name)
      local command = commands[name]
      if command then return command end
      if type(name) ~= "string" or not name:match "^[%a_]+$" then raise(K, "ctx.redis: no command of this name") end
      command = function(...)
        local p = now_running(K, "redis")
        local argv = { name:upper() }
        for n = 1, select("#", ...) do
          local given = (select(n, ...))
          local text = value.key_text(given)
          if not text then
            raise(K, "ctx.redis.%s: argument %d must be a string or a number, it is a %s", name, n,
              value.is_null(given) and "null" or type(given))
          end
          argv[n + 1] = text
        end
        local kind, keys = K.host.check_command(p.c, argv)
        if not kind then raise(K, "ctx.redis.%s: %s", name, keys) end
        if kind == "write" then return write_effect(K, R, p, argv, keys) end
        return read_answer(K, R, p, argv, keys)
      end
      commands[name] = command
      return command
    end,
  })
end

-- ── the table itself ────────────────────────────────────────────────────────────────────────────────────────────────────

local LATE = {} -- fields that are only made when a handler looks at them

function LATE.id(_, _, p)
  local i = p.c.at_entry
  local e = entry.at(p.c, i)
  if i >= entry.FIRED then return ("%.0f"):format(e.ms) end
  return ("%.0f-%s"):format(e.ms, (tostring(e.seq):gsub("ULL$", "")))
end

function LATE.stream(K, _, p)
  local i = p.c.at_entry
  if i >= entry.FIRED then return "" end
  return K.stream_names[p.c.entries[i].stream]
end

function LATE.now(_, R, p)
  local i = p.c.at_entry
  if R.has_clock and i < entry.FIRED then return call.now end
  return entry.at(p.c, i).ms
end

-- What a timer was given; nil elsewhere.
function LATE.payload(K)
  local task = call.task
  if task then return K.unpack(task.payload) end
  return K.unpack(call.payload)
end

-- Only inside of `on_event` and `on_window` there is one, and then it is no field made late.
function LATE.window() return nil end

-- Was the state loaded before this call? Else it is the first look at the state by a rule that never used it: from now on it
-- is loaded before the handler runs, and the handler is run again. (A handler that waited since before that has none either.)
local function need_state(R)
  local task = call.task
  if R.uses_state and (task == nil or task.has_state) then return end
  R.uses_state = true
  call.leave "redo"
end

function LATE.state(_, R)
  need_state(R)
  return nil
end

local function log_functions(K, R)
  local log = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    log[level] = function(...) K.host.log(level, R.name, R.version, (environment.line_of(...))) end
  end
  return setmetatable({}, {
    __index = log, __metatable = "log", __newindex = function() raise(K, "ctx.log cannot be written") end,
  })
end

---A ctx for one rule. `state` and `key` are set by the kernel before each call; all else is behind the metatable, where a rule
---can neither change nor shadow it.
function context.create(K, R)
  local api = {
    emit = emitter(K, R),
    redis = redis_proxy(K, R),
    log = log_functions(K, R),
    timer = timers.api(K, R, function(name) return now_running(K, name) end, function(...) return raise(K, ...) end,
      function(p, len) return admit(K, R, p, len) end,
      function(name) return wait_for(K, R, "ctx.timer.get", { timer = name }) end),
    dead = function(message)
      now_running(K, "dead")
      return call.leave("dead", text_of(message))
    end,
    reason = function(text)
      now_running(K, "reason")
      if K.host.reason then K.host.reason(R, text_of(text)) end
    end,
  }
  return setmetatable({}, {
    __metatable = "ctx",
    __index = function(_, name)
      local member = api[name]
      if member ~= nil then return member end
      local late = LATE[name]
      if late then return late(K, R, now_running(K, name)) end
      if name == "key" then return nil end
      raise(K, "ctx has no field '%s'", text_of(name))
    end,
    __newindex = function(ctx, name, v)
      if name ~= "state" then raise(K, "ctx.%s cannot be written; only ctx.state can", text_of(name)) end
      now_running(K, "state")
      need_state(R)
      rawset(ctx, name, v)
    end,
  })
end

return context
