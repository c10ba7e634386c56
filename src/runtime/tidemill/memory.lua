-- memory.lua: what follows when the VM was refused memory (design 7).
--
-- LuaJIT does not collect before it gives up: what filled the heap may have been garbage, what other events of the batch hold
-- while they wait, or what rules have kept in locals of their files. So the rule that was running is not to blame yet:
--
--   refused ──collect──> run again ──refused again──> not full without it: the rule is to blame
--                                                └──> full ──> again in a batch of its own ──> in a new VM ──> to blame
local call = require "tidemill.call"

local memory = {}

local MESSAGE = "not enough memory" -- LuaJIT's own words; made in advance, because there is no memory for them later
local FULL = 0.7 -- of the limit, after a collection

---Thrown through the batch loop: the batch must begin again (`p.restart` says how).
memory.RESTART = setmetatable({}, { __metatable = "restart" })

---Is an error that was caught the VM's own, and not one that a rule raised with the same words?
function memory.is_out(err)
  return call.unwind == "memory" or (err == MESSAGE and call.mark ~= nil and call.mark.is_full ~= 0)
end

local function is_full(K)
  collectgarbage "collect"
  return collectgarbage "count" * 1024 > FULL * K.vm_bytes
end

-- Is there more in the batch than what was running?
local function has_others(p) return p.last > 0 or p.c.fired_count > 1 end

local function begin_again(p, how)
  p.restart = how
  error(memory.RESTART, 0)
end

---The rule that is about to fail does so for its memory.
function memory.blame(K)
  call.unwind, call.trace = "memory", ""
  call.message = ("needs more memory than limits.vm_mb allows (%d MB)"):format(K.vm_bytes / 1048576)
end

---Rule R was refused memory on entry i; its effects have been taken back. True: it is to be run again. False: it is to blame,
---and `call` says for what. Else the batch begins again.
function memory.may_try_again(K, p, R, i)
  local full, tried = is_full(K), p.refused_memory
  call.unwind, call.message, call.upgrading = nil, nil, nil
  call.mark.is_full = 0
  if not (tried and tried.entry == i and tried.rule == R) then
    p.refused_memory = { entry = i, rule = R }
    return true
  end
  if full and has_others(p) then begin_again(p, "alone") end
  if full and p.c.is_renewable ~= 0 then begin_again(p, "renew") end
  memory.blame(K)
  return false
end

---The kernel itself was refused memory, or broken off: how to go on with the batch, or nil when there is no way.
function memory.how_to_restart(p, err)
  if err == memory.RESTART then return p.restart end
  if err ~= call.UNWIND and not memory.is_out(err) then return nil end
  call.unwind, call.message = nil, nil
  call.mark.is_full = 0
  collectgarbage "collect"
  p.restarts = p.restarts + 1
  if has_others(p) then return "smaller" end
  if p.c.is_renewable ~= 0 then return "renew" end
  return p.restarts < 10 and "smaller" or nil
end

return memory
