-- step.lua: the function that runs one rule on one event, generated once for each rule, and the loop over a batch,
-- generated once for each list of rules that share a stream.
--
-- Generated, because LuaJIT compiles by place in the code: one step function shared by all rules would be one trace with a
-- guard for each rule, and slow down with every rule added. A step of its own gives each rule traces of its own, into which
-- the rule's handler, the event's constructor and the packing of its state are inlined.
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
local when, key_of, key_text, check, ctx = R.when_function, R.key_function, K.key_text, R.check, R.ctx
return function(p, c, i, s)
  mark.rule = index
  call.rule, call.key = R, nil
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
  $check
  $key
  call.key = key
  if R.asks or p.waiting_count > 0 then
    if must_wait(p, R, i, event, key) then return end
  end
  call.ordinal, call.bytes, call.random = 0, 0, nil
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
  end
  mark.rule = 0
  R.passed = R.passed + 1
end
]]

-- For rules with functions of their own before the handler: no effects there (this ordinal is over every limit, see `admit` in
-- context.lua), and random numbers that depend on nothing but the event.
local BEFORE = "call.ordinal, call.random = 2147483647, nil"
local WHEN_FUNCTION = [[
  if not when(event) then
    mark.rule = 0
    return
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
  local parts = {
    before = (R.when_function or R.key_function) and BEFORE or "",
    when = R.when_function and WHEN_FUNCTION or "",
    check = R.check and CHECK or "",
    state_version = ("%d"):format(R.state_version),
    key = R.key_function and KEY_FUNCTION
      or R.key_field and KEY_FIELD:format(R.key_field, R.key_field, R.key_field)
      or 'local key = ""',
  }
  local source = STEP:gsub("%$([%w_]+)", parts)
  return assert(loadstring(source, "=step"))(K, R)
end

---The loops over the events of one stream, for the rules that read it.
---`one(p, c, i)` runs a single event, `loop(p, c, first, last)` a run of them. Two, because a loop that is mostly left after
---one turn, as on a quiet stream, would be given up by the JIT for good.
---@return { one: function, loop: function, rules: table[] }
function step.of_list(K, rules)
  local names, steps, calls = {}, {}, {}
  for n, R in ipairs(rules) do
    -- More upvalues than Lua has room for (60): the rest of the rules goes through a table.
    if n <= 40 then
      names[n] = "step" .. n
      calls[n] = ("step%d(p, c, i, s)"):format(n)
    end
    steps[n] = R.step
  end
  if #rules > 40 then calls[41] = "for n = 41, #steps do steps[n](p, c, i, s) end" end
  local body = ([[
  c.at_entry = i
  local s = decode(c, i)
  if s == -2 then undecodable(p, i) else %s end]]):format(table.concat(calls, " "))
  local source = ([[
local K, steps, decode, undecodable, clock = ...
local %s = unpack(steps, 1, %d)
local function one(p, c, i)
  %s
end
local function loop(p, c, first, last)
  for i = first, last do
    %s
    if clock() >= c.deadline_ms then return end
  end
end
return one, loop
]]):format(#names > 0 and table.concat(names, ", ") or "_", #names, body, body)
  local one, loop = assert(loadstring(source, "=loop"))(K, steps, K.host.decode, K.undecodable, K.host.clock)
  return { one = one, loop = loop, rules = rules }
end

---The builder of events of one shape for a rule: its filter first, then the table.
function step.builder(R, tokens)
  return shape.constructor(tokens, 0, R.filter)
end

return step
