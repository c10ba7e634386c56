-- call.lua: what is running right now. One table that the kernel sets before it calls a rule, and that what a rule may
-- call (ctx, pcall, coroutines, random numbers) reads.
local call = {
  partition = nil, -- the kernel's partition, nil outside of a handler
  rule = nil,      -- the rule
  task = nil,      -- the parked or resumed task, nil when the handler runs straight in the batch loop
  ordinal = 0,     -- effects so far of this handler call
  bytes = 0,       -- bytes of these effects
  pending = nil,   -- timers that it has set and cancelled so far (timers.lua); nil: none
  payload = nil,   -- of a timer that runs without a task
  now = nil,       -- the event's time, for rules that have a watermark
  mark = nil,      -- what the engine is told of it (sandbox/mark.h)
  random = nil,    -- generator of this handler call, made when it is first asked
  migrating = nil, -- the key whose state is being migrated (migration.lua), also while the failure of that is on its way
  upgrading = nil, -- an event is being upgraded (upgrade.lua), also while the failure of that is on its way
  unwind = nil,    -- why the stack is being left past the rule's own pcall: "dead", "redo", "output", "time", "memory"
  message = nil,   -- what goes with it
  trace = nil,     -- the traceback of the error that was raised last
}

-- Thrown to leave a rule for good. The wrapped pcall and coroutine.resume of a rule pass it on (environment.lua).
call.UNWIND = setmetatable({}, { __metatable = "unwind", __tostring = function() return "left by the engine" end })

-- Yielded by a lookup through any coroutines of the rule's own up to the kernel, with the question.
call.ASK = setmetatable({}, { __metatable = "ask" })

---Leaves the handler that is running; does not return.
function call.leave(why, message)
  call.unwind, call.message = why, message
  error(call.UNWIND, 0)
end

return call
