-- step.lua: the function that runs one rule on one event, generated once for each rule, and the loop over a batch,
-- generated once for each list of rules that share a stream.
--
-- Generated, because LuaJIT compiles by place in the code: one step function shared by all rules would be one trace with a
-- guard for each rule, and slow down with every rule added. A step of its own gives each rule traces of its own, into which
-- the rule's handler, the event's constructor and the packing of its state are inlined.
local decisions = require "tidemill.decisions"
local shape = require "tidemill.shape"

local step = {}

-- `K` is the kernel's side (kernel.lua, `internals`), `R` the rule. What a rule does not have costs nothing: no line of it
-- is in its step.
local STEP = [[
local K, R = ...
local call, index, id, on_event, builders = K.call, R.index, R.id, R.on_event, R.builders
local type, raw_set, mark = type, rawset, K.mark
local find, state_of, save, must_wait = K.host.find, K.state_of, K.save, K.must_wait
local fail, defer, constructor, generic, migrated = K.fail, K.defer, K.constructor, K.generic, K.migrated
local finish, enter, record, on_late, on_window, tell_late = K.finish, R.enter, R.record, R.on_late, R.on_window, K.tell_late
local pending, state_clock = K.pending, K.state_clock
local when, key_of, key_text, upgrade, check, ctx = R.when_function, R.key_function, K.key_text, R.upgrade, R.check, R.ctx
return function(p, c, i, s)
  mark.rule = index
  call.rule, call.key = R, nil
  $clock
  local event
  if s >= 0 then
    local build = builders[s] or constructor(R, c.event_tokens.list, s)
    event = build(c.event_tokens.list)
  else
    event = generic(R, c.event_tokens.list)
  end
  if event == nil then
    mark.rule = 0
    return
  end
  $before
  $when
  $time
  $upgrade
  $check
  $key
  call.key = key
  $state_clock
  if R.asks or p.waiting_count > 0 then
    if must_wait(p, R, i, event, key) then return end
  end
  call.ordinal, call.bytes, call.random = 0, 0, nil
  $body
  mark.rule = 0
  R.passed = R.passed + 1
end
]]

-- The call of a rule without timers and windows.
local BODY = [[
  if R.uses_state then
    local slot = find(c, id, key, #key)
    if slot == nil then return defer(p, R, i, event, key) end
    local state = state_of(c, slot, $state_version)
    if state == nil then state = migrated(c, R, slot, key) end
    raw_set(ctx, "state", state)
    raw_set(ctx, "key", key)
    on_event(event, ctx)
    if save(p, c, R, slot, ctx, i, key) then return end
  else
    raw_set(ctx, "key", key)
    on_event(event, ctx)
  end]]

-- The call of one with them. Its window is entered last, because that may call the rule's `merge`.
local BODY_WITH_TIME = [[
  local slot
  if R.uses_state then
    slot = find(c, id, key, #key)
    if slot == nil then return defer(p, R, i, event, key) end
    local state = state_of(c, slot, $state_version)
    if state == nil then state = migrated(c, R, slot, key) end
    raw_set(ctx, "state", state)
  end
  raw_set(ctx, "key", key)
  pending.count, call.pending = 0, pending
  $handler
  mark.rule = 0]]
local HANDLER_PLAIN = [[
  on_event(event, ctx)
  if finish(p, c, R, slot, nil, ctx, i, key) then return end]]
local HANDLER_IN_WINDOW = [[
  local is_in = enter(K, c, R, record, key, call.now, clock.watermark)
  if is_in == nil then return defer(p, R, i, event, key) end
  if is_in then
    raw_set(ctx, "window", record.table)
    on_event(event, ctx)
    if record.span then on_window(record.span, ctx) end
    if finish(p, c, R, slot, record, ctx, i, key) then return end
  else
    tell_late(K, p, R, i, key, call.now, clock.watermark)
    if on_late then
      raw_set(ctx, "window", nil)
      on_late(event, ctx)
      if finish(p, c, R, slot, nil, ctx, i, key) then return end
    else
      mark.rule = 0
      return
    end
  end]]

-- Of rules that have a watermark: the event's time was read before (kernel.lua: observe_event).
local CLOCK = [[
  local clock = p.clocks[index]
  call.now = clock.event_ms]]
local TIME = [[
  if clock.event_ms == nil then return fail(p, R, i, clock.reason, clock.fault, clock.trace) end]]
local STATE_CLOCK = "c.clock_ms = state_clock(clock)"

-- For rules with functions of their own before the handler: no effects there (this ordinal is over every limit, see `admit` in
-- context.lua), and random numbers that depend on nothing but the event.
local BEFORE = "call.ordinal, call.random = 2147483647, nil"
local WHEN_FUNCTION = [[
  if not when(event) then
    mark.rule = 0
    return
  end]]
-- An event of the newest version costs no more than this look.
local UPGRADE = [[
  if event.v ~= %d then
    local why
    event, why = upgrade(event, c.texts ~= 0)
    if event == nil then return fail(p, R, i, "upgrade", why) end
  end]]
local CHECK = [[
  local why = check(event, c.texts ~= 0)
  if why then return fail(p, R, i, "schema", why) end]]
local KEY_FIELD = [[
  local key = event[%q]
  if type(key) ~= "string" then
    key = key_text(key)
    if not key then return fail(p, R, i, "key", K.describe_key(%q, event[%q])) end
  end]]
local KEY_FUNCTION = [[
  local key = key_of(event)
  if type(key) ~= "string" then
    local given = key
    key = key_text(key)
    if not key then return fail(p, R, i, "key", K.describe_key("key(event)", given)) end
  end]]

---The step of one rule: step(partition, c, entry, shape).
---@return fun(p: table, c: ffi.cdata*, i: number, s: number)
function step.of_rule(K, R)
  -- Filled in before the rest, which has texts of the rule's author in it that may look like a place to be filled.
  local body = (R.on_timer or R.window) and BODY_WITH_TIME or BODY
  body = body:gsub("%$([%w_]+)", {
    handler = R.window and HANDLER_IN_WINDOW or HANDLER_PLAIN, state_version = ("%d"):format(R.state_version),
  })
  local parts = {
    clock = R.has_clock and CLOCK or "",
    time = R.time and TIME or "",
    state_clock = R.time and STATE_CLOCK or "",
    body = body,
    before = (R.when_function or R.key_function or R.upgrade) and BEFORE or "",
    when = R.when_function and WHEN_FUNCTION or "",
    upgrade = R.upgrade and UPGRADE:format(#R.upgrades + 1) or "",
    check = R.check and CHECK or "",
    key = R.key_function and KEY_FUNCTION
      or R.key_field and KEY_FIELD:format(R.key_field, R.key_field, R.key_field)
      or 'local key = ""',
  }
  local source = STEP:gsub("%$([%w_]+)", parts)
  return assert(loadstring(source, "=step"))(K, R)
end

-- How many rules of a list are called by name: more upvalues than 60 Lua has no room for. The rest goes through a table.
local NAMED_MOST = 40

-- An event: what comes in front of its rules, and $run, what begins or runs them; `s` is its shape.
local BEGIN = [[
  c.at_entry = i
  local clock_ms = c.entries[i].clock_ms
  if clock_ms >= c.next_wall_ms$idle then
    if before(p, i) then return true end
  end
  local s = decode(c, i)
  if s == -2 then
    $pass
    undecodable(p, i)
  else
    $observe
    $run
  end]]
local OBSERVE = [[
    local is_cut
    is_cut, s = observe(p, i, s, clocked)
    if is_cut then return true end]]
local RUN_SELECTED = [[
    local e = c.entries[i]
    if selects($seed, e.ms, tonumber(e.seq)) then
      recorded(p, c, i, s, rules)
    else
      $run
    end]]

-- One rule: its step is a part of the trace of the loop.
local LOOPS_OF_ONE = [[
local function one(p, c, i)
  $begin
end
local function loop(p, c, first, last)
  for i = first, last do
    $begin
    if clock() >= c.deadline_ms then return end
  end
end]]

-- Several: a turn of the loop is one rule on one event. All of them in one turn would be one trace, in which more values live at
-- once than LuaJIT has room for ("too many spill slots"), and nothing of it would be compiled.
local LOOPS_OF_MANY = [[
local function loop(p, c, first, last)
  local i, n, shape = first - 1, $count, 0
  while true do
    if n == $count then
      if i == last then return end
      i = i + 1
      $begin
    else
      n = n + 1
      $dispatch
    end
    if n == $count and clock() >= c.deadline_ms then return end
  end
end
local function one(p, c, i) return (loop(p, c, i, i)) end]]

local LOOPS = [[
local K, steps, decode, undecodable, clock, clocked, rules = ...
local before, observe, pass = K.before, K.observe, K.pass
local selects, recorded, tonumber = K.selects, K.recorded, tonumber
local $names = unpack(steps, 1, $named)
$loops
return one, loop
]]

local function filled(text, parts) return (text:gsub("%$([%w_]+)", parts)) end

-- Calls step number n, of those from `first` to `last`, in as few comparisons as there can be.
local function dispatch(calls, first, last)
  if first == last then return calls[first] end
  local middle = math.floor((first + last) / 2)
  return ("if n <= %d then %s else %s end"):format(middle, dispatch(calls, first, middle), dispatch(calls, middle + 1, last))
end

---The loops over the events of one stream, for the rules that read it.
---`one(p, c, i)` runs a single event, `loop(p, c, first, last)` a run of them. With one rule these are two functions, because a
---loop that is mostly left after one turn, as on a quiet stream, would be given up by the JIT for good; with several, an event
---has turns enough.
---Both end in front of an entry for which something must wait that fired (`one` is then true).
---Only where some events are recorded (decisions.lua) it is looked which.
---@return { one: function, loop: function, rules: table[], clocked: table[] }  clocked: those that have a watermark
function step.of_list(K, rules, stream)
  local names, steps, calls, clocked = {}, {}, {}, {}
  local event = #rules > 1 and "shape" or "s"
  for n, R in ipairs(rules) do
    if R.has_clock then clocked[#clocked + 1] = R end
    steps[n] = R.step
    calls[n] = ("steps[n](p, c, i, %s)"):format(event)
    if n <= NAMED_MOST then
      names[n] = "step" .. n
      calls[n] = ("step%d(p, c, i, %s)"):format(n, event)
    end
    if R.time then calls[n] = calls[n] .. " c.clock_ms = c.entries[i].clock_ms" end
  end
  local run = #rules > 1 and "n, shape = 0, s" or calls[1] or ""
  if K.selects then run = filled(RUN_SELECTED, { seed = ("%d"):format(decisions.seed(stream)), run = run }) end
  local begin = filled(BEGIN, {
    idle = #K.clocked > 0 and " or clock_ms >= c.next_idle_ms" or "", pass = #clocked > 0 and "pass(p, i, clocked)" or "",
    observe = #clocked > 0 and OBSERVE or "", run = run,
  })
  local loops = filled(#rules > 1 and LOOPS_OF_MANY or LOOPS_OF_ONE, {
    count = ("%d"):format(#rules), begin = begin, dispatch = #rules > 1 and dispatch(calls, 1, #rules) or "",
  })
  local source = filled(LOOPS, {
    names = #names > 0 and table.concat(names, ", ") or "_", named = ("%d"):format(#names), loops = loops,
  })
  local one, loop = assert(loadstring(source, "=loop"))(K, steps, K.host.decode, K.undecodable, K.host.clock,
    clocked, rules)
  return { one = one, loop = loop, rules = rules, clocked = clocked }
end

---The builder of events of one shape for a rule: its filter first, then the table.
function step.builder(R, tokens)
  return shape.constructor(tokens, 0, R.filter)
end

return step
