-- timers.lua: `ctx.timer`: what a handler sets and cancels (design 3.5). When it fires is firing.lua's.
--
-- It is kept in `call.pending` until the handler has returned: one that fails leaves nothing. Then it goes to the host, which keeps
-- the earliest of every queue at hand.
local call = require "tidemill.call"
local duration = require "tidemill.duration"
local entry = require "tidemill.entry"
local pack = require "tidemill.pack"

local timers = {}

timers.WALL, timers.EVENT, timers.WINDOW, timers.KINDS = 0, 1, 2, 3 -- rules/timers.h

local EVENT = timers.EVENT
local NAME_MOST = 128
local DUE_MOST = 2 ^ 53
local NONE, UNKNOWN = -1, -2
local FIRED = entry.FIRED

local delays, delay_count = {}, 0 -- what durations mean

local function delay_ms(raise, delay)
  local ms = delays[delay]
  if ms then return ms end
  local why
  ms, why = duration.parse(delay)
  if not ms then raise("ctx.timer.set: %s", why) end
  if type(delay) == "string" and delay_count < 1000 then delays[delay], delay_count = ms, delay_count + 1 end
  return ms
end

local function check_name(raise, what, name)
  if type(name) ~= "string" then raise("ctx.timer.%s: the name must be a string, it is a %s", what, type(name)) end
  if name == "" or #name > NAME_MOST or name:find "^\255" or name:find "%c" then
    raise("ctx.timer.%s: a timer's name has 1 to %d letters, and no control characters", what, NAME_MOST)
  end
end

-- What a delay counts from, and the position that a due time must lie behind.
local function base_of(p, R)
  local i = p.c.at_entry
  local e = entry.at(p.c, i)
  if R.clock_kind == EVENT then
    if i >= FIRED then return e.ms, e.ms end
    local task = call.task
    return call.now, task and task.watermark or p.clocks[R.index].watermark
  end
  return i >= FIRED and e.clock_ms or e.ms, e.clock_ms
end

local function note(name, due, payload)
  local pending = call.pending
  if pending == nil then
    pending = { names = {}, dues = {}, payloads = {}, count = 0 }
    call.pending = pending
  end
  local n = pending.count + 1
  pending.names[n], pending.dues[n], pending.payloads[n], pending.count = name, due, payload or false, n
end

---The functions of `ctx.timer`. `running(name)` gives the partition, or raises outside of a handler; `raise` raises in the rule's
---own line; `admit(p, bytes)` counts an effect; `ask(name)` waits for when a timer is due that only Redis knows (only its rule's
---events of this key change it, and they run one by one).
function timers.api(K, R, running, raise, admit, ask)
  local api = {}

  local function set(p, what, name, due, payload)
    if not R.on_timer then raise("ctx.timer.%s: the rule has no `on_timer` that could be called", what) end
    check_name(raise, what, name)
    local bytes, why
    if payload ~= nil then
      bytes, why = pack.string(payload)
      if not bytes then raise("ctx.timer.%s(%q, ...): the payload cannot be kept: %s", what, name, why) end
    end
    admit(p, #name + #call.key + (bytes and #bytes or 0))
    note(name, due, bytes)
  end

  local function not_before(position, due) return due > position and due or math.floor(position) + 1 end

  function api.set(name, delay, payload)
    local p = running "timer.set"
    local base, position = base_of(p, R)
    set(p, "set", name, not_before(position, math.floor(base + delay_ms(raise, delay))), payload)
  end

  function api.set_at(name, ms, payload)
    local p = running "timer.set_at"
    if type(ms) ~= "number" or not (ms > -DUE_MOST and ms < DUE_MOST) then
      raise("ctx.timer.set_at: the time must be a number of milliseconds, it is %s",
        type(ms) == "number" and tostring(ms) or "a " .. type(ms))
    end
    local _, position = base_of(p, R)
    set(p, "set_at", name, not_before(position, math.floor(ms)), payload)
  end

  function api.cancel(name)
    local p = running "timer.cancel"
    check_name(raise, "cancel", name)
    admit(p, #name + #call.key)
    note(name, NONE)
  end

  function api.get(name)
    local p = running "timer.get"
    check_name(raise, "get", name)
    local pending = call.pending
    for n = pending and pending.count or 0, 1, -1 do
      if pending.names[n] == name then return pending.dues[n] >= 0 and pending.dues[n] or nil end
    end
    local key = call.key
    local due = K.host.timer_find(p.c, R.id, R.clock_kind, key, #key, name, #name)
    if due == UNKNOWN then return tonumber((ask(name))) end
    return due >= 0 and due or nil
  end

  return setmetatable({}, {
    __metatable = "timer",
    __newindex = function() raise "ctx.timer cannot be written" end,
    __index = function(_, name)
      if api[name] then return api[name] end
      raise("ctx.timer has no function '%s': set, set_at, cancel, get", tostring(name))
    end,
  })
end

---Hands what a handler left to the host. `task`: when it had to wait; then `check` (firing.lua) looks at each.
function timers.apply(K, c, R, key, pending, check, p, task)
  local host, kind = K.host, R.clock_kind
  for n = 1, pending.count do
    local name, due, payload = pending.names[n], pending.dues[n], pending.payloads[n]
    if due < 0 then
      host.timer_cancel(c, R.id, kind, key, #key, name, #name)
    else
      if payload then
        host.timer_set(c, R.id, kind, key, #key, name, #name, due, payload, #payload)
      else
        host.timer_set(c, R.id, kind, key, #key, name, #name, due, nil, 0)
      end
      if task then check(p, R, kind, due, task) end
    end
  end
  pending.count = 0
end

return timers
