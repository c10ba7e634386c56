-- upgrade.lua: events of an earlier version (`v`), made into those that the rule reads: `upgrade = { [1] = function(old) ... end }`.
--
-- It runs behind `when` and `time`, which see the event as it came, and in front of the schema, as part of the rule's call: within
-- its limits, and as in `when` and `key` there is no ctx yet. Events of the newest version cost one comparison (step.lua).
local call = require "tidemill.call"
local schema = require "tidemill.schema"
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

local upgrade = {}

local type, getmetatable, rawset = type, getmetatable, rawset

-- The version of an event, as a number; nil and why when it says none.
local function version_of(v, texts)
  if v == nil then return 1 end
  local number = v
  if texts and type(v) == "string" and v:find "^[1-9]%d*$" then number = tonumber(v) end
  if value.is_int64(v) then number = v > 0 and 2 ^ 63 or 0 end -- beyond 2^53, so beyond what any rule knows
  if type(number) == "number" and number >= 1 and number % 1 == 0 then return number end
  return nil, ("field 'v' must be the event's version, a whole number from 1 on, it is %s"):format(schema.describe(v))
end

-- What a function of the rule returned may be an event: fields, and no table of the engine's (ctx).
local function is_event(result)
  return type(result) == "table" and type(getmetatable(result)) ~= "string"
end

---The function that makes an event of any version one of the newest: upgrade(event, texts). Returns nil and why when that cannot
---be; raises what the rule's functions raise, and `call.upgrading` is then still true. `texts`: the entry came as plain fields.
---@param functions (fun(old: table): table)[]  by the version that they upgrade
---@param places string[]                       where these stand: "cart.lua:12"
---@return fun(event: table, texts: boolean): table|nil event, string|nil why
function upgrade.runner(functions, places)
  local newest = #functions + 1
  return function(event, texts)
    local version, why = version_of(event.v, texts)
    if not version then return nil, why end
    if version > newest then
      return nil, ("the event has version %s, this rule knows up to %d: a newer producer wrote it; add `upgrade[%d]` to the rule "
        .. "and retry the letter"):format(value.key_text(event.v), newest, newest)
    end
    call.upgrading = true
    for v = version, newest - 1 do
      event = functions[v](event)
      if not is_event(event) then
        call.upgrading = nil
        return nil, ("%s: `upgrade[%d]` must return the event as a table of fields, it returned %s"):format(places[v], v,
          event == nil and "nothing" or type(event) == "table" and "another kind of table" or "a " .. type(event))
      end
      rawset(event, "v", v + 1)
    end
    call.upgrading = nil
    rawset(event, "v", newest) -- also where it was the text of it
    return event
  end
end

local function shown_key(key)
  if type(key) == "string" or type(key) == "number" then return ("`%s`"):format(key) end
  return "a " .. type(key)
end

local VERSION_MOST = 100000

---Reads `upgrade` of a rule or schema: its functions by version. Each mistake goes to `report(sentence, key)`; `key` nil: it is of
---none of them.
---@return function[] functions
function upgrade.parse(given, report)
  local functions, highest, is_there = {}, 0, {}
  for key, v in pairs(given) do
    if type(key) ~= "number" or key % 1 ~= 0 or key < 1 or key > VERSION_MOST then
      report(("`upgrade` has the key %s; its keys are the versions that it upgrades from: 1, 2 and so on"):format(shown_key(key)), key)
    else
      functions[key], is_there[key], highest = v, true, math.max(highest, key)
      if type(v) ~= "function" then
        report(("`upgrade[%d]` must be a function(old) that returns the event as version %d has it, it is a %s"):format(
          key, key + 1, type(v)), key)
      end
    end
  end
  for v = 1, highest do
    if not is_there[v] then
      report(("`upgrade[%d]` is missing: events of version %d could not become those of version %d"):format(v, v, highest + 1))
      break
    end
  end
  return functions
end

return upgrade
