-- migration.lua: the state that an earlier version of a rule left, made into what this version reads.
--
-- `state.migrate` runs as part of the handler's call, just before the handler: its time and memory count for the call's limits,
-- and when it fails, the event has failed (reason `migrate`) and the old state stays. What it returns is stored with what the
-- handler leaves, or not at all. As in `when` and `key` there is no ctx yet: one that the rule has kept does not work.
local call = require "tidemill.call"

local migration = {}

local type, next = type, next

local function refuse(R, text, ...)
  error(("%s: %s"):format(R.state_at, text:format(...)), 0)
end

---The state of a slot whose version is not the rule's. Raises when it cannot be had; `call.migrating` then still says the key.
---@return table state
function migration.run(K, c, R, slot, key)
  call.migrating = key
  local version = slot.version
  if version > R.state_version then
    refuse(R, "the state of this key has version %d, this rule knows up to %d: a newer version of the rule wrote it", version,
      R.state_version)
  end
  if not R.migrate then refuse(R, "the state of this key has version %d, and versions begin at 1", version) end
  local state = K.read_state(c, slot)
  if next(state) ~= nil then -- else its bytes could not be read: it counts as none, and that was told
    call.key, call.ordinal, call.random = nil, 2147483647, nil -- as in step.lua
    state = R.migrate(state, version)
    call.key, call.ordinal, call.random = key, 0, nil
  end
  if state == nil then
    state = {}
  elseif type(state) ~= "table" then
    refuse(R, "`state.migrate` must return a table or nil, it returned a %s", type(state))
  else
    local len, why = K.pack_state(0, R.state_version, state)
    if not len then refuse(R, "what `state.migrate` returned cannot be kept: %s", why) end
    if len > R.limits.state_bytes then
      refuse(R, "what `state.migrate` returned is %d bytes, more than %s allows", len, R.limits.setting.state_kb)
    end
  end
  call.migrating = nil
  return state
end

return migration
