-- limits.lua: what a rule may spend on one event, and how a rule that spends more is told so.
--
-- The settings give the limits of all rules; a rule may lower its own (`limits = { rule_ms = 10 }`). Time is measured outside
-- of Lua (sandbox/limit.h), which calls `limits.interrupt` when it is over.
local call = require "tidemill.call"
local nearest = require "tidemill.nearest"
local pairs = require("tidemill.each").pairs

local limits = {}

-- What a rule may lower. (Memory is the whole VM's.)
local NAMES = { "rule_ms", "effects", "effect_kb", "state_kb" }

---Reads the field `limits` of a rule. `settings`: see of_rule. Each mistake goes to `report(name, sentence)`; what is right is
---returned.
---@return table<string, number> own
function limits.parse(given, settings, report)
  local most = { rule_ms = settings.rule_ms, effects = settings.effects, effect_kb = settings.effect_bytes / 1024,
    state_kb = settings.state_bytes / 1024 }
  local own = {}
  for name, v in pairs(given) do
    local known = false
    for _, other in ipairs(NAMES) do known = known or name == other end
    local text = type(name) == "string" and name or "(a " .. type(name) .. ")"
    if text == "vm_mb" then
      report(text, "`limits.vm_mb` is for all rules together: it stands in the settings")
    elseif not known then
      report(text, ("unknown limit `limits.%s`%s"):format(text, nearest.hint(text, NAMES)))
    elseif type(v) ~= "number" or v < 1 or v ~= math.floor(v) then
      report(text, ("`limits.%s` must be a whole number of at least 1"):format(name))
    elseif v > most[name] then
      report(text, ("`limits.%s` is %d, more than the %d of the settings; a rule may only lower a limit"):format(
        name, v, most[name]))
    else
      own[name] = v
    end
  end
  return own
end

---The limits that hold for a rule: those of the settings, lowered by its own.
---@param settings { rule_ms: number, effects: number, effect_bytes: number, state_bytes: number }
function limits.of_rule(own, settings)
  own = own or {}
  local function setting(name) return (own[name] and "the rule's limits." or "limits.") .. name end
  return {
    rule_ms = own.rule_ms or settings.rule_ms,
    effects = own.effects or settings.effects,
    effect_bytes = own.effect_kb and own.effect_kb * 1024 or settings.effect_bytes,
    state_bytes = own.state_kb and own.state_kb * 1024 or settings.state_bytes,
    setting = { rule_ms = setting "rule_ms", effects = setting "effects", effect_kb = setting "effect_kb",
      state_kb = setting "state_kb" },
  }
end

local function time_is_over(R)
  call.unwind = "time"
  call.message = ("ran longer than %d ms (%s)"):format(R.limits.rule_ms, R.limits.setting.rule_ms)
end

---Called inside of the hook that stops a rule, for its time or for the memory that it was given above the limit; what it returns
---is raised there.
function limits.interrupt(K)
  if K.mark.is_full ~= 0 then
    call.unwind, call.trace = "memory", ""
    return call.UNWIND
  end
  local R = K.rules[K.mark.rule]
  time_is_over(R)
  call.trace = K:traceback()
  return call.UNWIND
end

---For a rule that waits for answers again and again: has what it ran in between used up its time?
function limits.is_over(K, task)
  if task.spent_us < task.rule.limits.rule_ms * 1000 then return false end
  time_is_over(task.rule)
  call.trace = K:traceback(task.co)
  return true
end

return limits
