-- duration.lua: "250ms" "10s" "30m" "12h" "8d" or a number of milliseconds.
local duration = {}

local UNITS = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }
local FORMS = "write milliseconds or \"250ms\", \"10s\", \"30m\", \"12h\", \"8d\""

---The milliseconds of a duration, or nil and why it is none.
---@param v string|number
---@return number|nil ms, string|nil reason
function duration.parse(v)
  if type(v) == "number" then
    if v >= 0 and v < 2 ^ 53 then return math.floor(v) end
    return nil, "a duration must be 0 ms or more"
  end
  if type(v) ~= "string" then return nil, ("a %s is no duration: %s"):format(type(v), FORMS) end
  local digits, unit = v:match "^(%d+%.?%d*)(%a+)$"
  local number = tonumber(digits)
  if not number or not UNITS[unit] then
    return nil, ("'%s' is no duration: %s"):format(v, FORMS)
  end
  local ms = math.floor(number * UNITS[unit] + 1e-6) -- 1.001 * 1000 is a little less than 1001
  if ms >= 2 ^ 53 then return nil, ("'%s' is too long a duration"):format(v) end
  return ms
end

return duration
