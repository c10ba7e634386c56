-- known.lua: the names that rules may use, asked from the engine, for specs that compare texts about them.
local files = require "spec.support.files"
local rulebook = require "tidemill.rulebook"

local known = {}

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end
known.sorted = sorted

local LIMITS = { rule_ms = 50, effects = 1000, effect_bytes = 1048576, state_bytes = 65536 }

function known.load(list) return rulebook.load(list, { limits = LIMITS }) end

-- The fields of a rule, or of a table in it ("state", "limits"): what the error for an unknown one lists.
function known.fields(of)
  local wrong = of and ("%s = { frobnicate = 1 }"):format(of) or "frobnicate = 1"
  local text = "return { stream = 's', on_event = print, " .. wrong .. " }"
  local names = {}
  for name in known.load({ { name = "r.lua", text = text } }).problems[1].message:match("; known are (.*)$"):gmatch "[%w_]+" do
    names[name] = true
  end
  return sorted(names)
end

-- The members of ctx, as context.lua makes them.
function known.ctx()
  local text = files.read_file "src/runtime/tidemill/context.lua"
  local names = { key = true, state = true }
  for name in text:gmatch "\nfunction LATE%.([%w_]+)" do names[name] = true end
  for name in text:match("\n  local api = {\n(.-)\n  }\n"):gmatch "%f[^\n%z]    ([%w_]+) = " do names[name] = true end
  assert(names.emit and names.payload and names.reason, "context.lua has changed: read it otherwise")
  return sorted(names)
end

return known
