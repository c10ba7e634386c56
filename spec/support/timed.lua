-- timed.lua: what specs of timers, windows and watermarks share: Redis' clock, entries that an engine finds all at once, and a rule
-- that sets timers as its events say, with a model of what must come of it.
--
--   local rules = { ["a.lua"] = timed.rule "a", ["b.lua"] = timed.rule "b" }
--   timed.put(server, "orders", { { id = "1000-0", k = "x", n = 1, ops = { { "set", "t", 50 }, { "cancel", "u" } } } })
--   …                                                        -- the list `log` gets one line for each event and for each timer
--   timed.expected({ { ms = 1000, k = "x", … } }, { "a", "b" }) -- the lines that it must have
local engine = require "spec.support.engine"
local wait = require "spec.support.wait"

local timed = {}

---- clocks ----

-- Redis' TIME in ms, rounded down.
function timed.now_ms(server)
  local now = server:call "TIME"
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- Until Redis' clock has come to `ms`.
function timed.wait_ms(server, ms)
  wait.until_true(function() return timed.now_ms(server) >= ms end, 30, "Redis' clock")
end

-- The ms of an entry ID.
function timed.ms_of(id)
  return tonumber(id:match "^%d+")
end

---- input ----

-- Adds entries in one transaction, so that an engine never sees some of them without the rest. Each is an event with an `id` (default
-- "*") and maybe a `stream`. Returns their IDs.
function timed.put(server, stream, events)
  local commands = { { "MULTI" } }
  for _, event in ipairs(events) do
    local fields = {}
    for name, value in pairs(event) do
      if name ~= "id" and name ~= "stream" then
        fields[name] = value
      end
    end
    commands[#commands + 1] = { "XADD", event.stream or stream, event.id or "*", "data", engine.pack(fields) }
  end
  commands[#commands + 1] = { "EXEC" }
  local replies = server:pipeline(commands)
  for _, reply in ipairs(replies[#replies]) do
    if type(reply) == "table" then
      error(reply.err, 2)
    end
  end
  return replies[#replies]
end

---- a rule that does what its events say ----

local ON_EVENT = [=[
    if event.n then ctx.redis.rpush("log", ("RULE event %s"):format(event.n)) end
    for _, op in ipairs(event.ops or {}) do
      local due = ctx.timer[op[1]](op[2], op[3], op[4])
      if op[1] == "get" then ctx.redis.rpush("got", due and ("%.0f"):format(due) or "none") end
    end]=]

-- A payload { left =, delay = } makes a chain: the timer sets itself again, so many times.
local ON_TIMER = [[function(name, ctx)
    ctx.redis.rpush("log", ("RULE %s %s at %.0f"):format(ctx.key, name, ctx.now))
    local p = ctx.payload
    if p and p.left and p.left > 0 then ctx.timer.set(name, p.delay, { left = p.left - 1, delay = p.delay }) end
  end]]

-- The rule, telling its events and timers under that name. `head`: more fields; `stream` is "orders" unless that is given.
function timed.rule(name, head, stream)
  local on_event, on_timer = ON_EVENT:gsub("RULE", name), ON_TIMER:gsub("RULE", name)
  return engine.rule(on_event, ('stream = %s, key = "k", on_timer = %s%s'):format(stream or '"orders"', on_timer,
    head and ", " .. head or ""))
end

---- what must come of it (design 3.5, written down once more in the plainest way) ----

local function is_before(a, b)
  for _, field in ipairs { "due", "rule", "k", "name" } do
    if a[field] ~= b[field] then
      return a[field] < b[field]
    end
  end
  return false
end

-- The lines of `log`, when `entries` ({ ms =, k =, n =, ops = }, in order) are all there before the engine starts, and their IDs are
-- so old that all timers are due in the end.
function timed.expected(entries, rules)
  local pending, log, clock = {}, {}, 0
  local function set(rule, k, name, due, payload)
    pending[("%s\0%d\0%s\0%s"):format(rule, #k, k, name)] = { due = math.max(due, clock + 1), rule = rule, k = k, name = name,
      payload = payload }
  end
  local function fire_up_to(ms)
    while true do
      local id, first
      for other, timer in pairs(pending) do
        if timer.due <= ms and (not first or is_before(timer, first)) then
          id, first = other, timer
        end
      end
      if not first then
        return
      end
      pending[id], clock = nil, first.due
      log[#log + 1] = ("%s %s %s at %.0f"):format(first.rule, first.k, first.name, first.due)
      local p = first.payload
      if p and p.left > 0 then
        set(first.rule, first.k, first.name, first.due + p.delay, { left = p.left - 1, delay = p.delay })
      end
    end
  end
  for _, entry in ipairs(entries) do
    fire_up_to(entry.ms)
    clock = entry.ms
    for _, rule in ipairs(rules) do
      log[#log + 1] = ("%s event %s"):format(rule, entry.n)
      for _, op in ipairs(entry.ops) do
        if op[1] == "cancel" then
          pending[("%s\0%d\0%s\0%s"):format(rule, #entry.k, entry.k, op[2])] = nil
        else
          set(rule, entry.k, op[2], op[1] == "set" and entry.ms + op[3] or op[3], op[4])
        end
      end
    end
  end
  fire_up_to(math.huge)
  return log
end

return timed
