-- environment.lua: all that a rule can see. A whitelist: what is not named here does not exist for a rule.
--
-- Every rule has its own copies of the library tables, so what it does to them is nobody else's matter. What is shared
-- (functions, the string metatable) cannot be changed from Lua: the metatable is hidden, and no loader, `debug`, `getfenv`
-- or bytecode is there to get behind it.
local call = require "tidemill.call"
local entry = require "tidemill.entry"
local each = require "tidemill.each"
local memory = require "tidemill.memory"

local environment = {}

local raw_pcall, raw_error, raw_getmetatable, raw_rawset = pcall, error, getmetatable, rawset
local raw_tostring = tostring
local raw_resume, raw_yield, raw_create = coroutine.resume, coroutine.yield, coroutine.create
local raw_running, raw_insert, raw_move = coroutine.running, table.insert, table.move
local bit = require "bit"
local UNWIND, ASK = call.UNWIND, call.ASK

-- Errors that a rule caught are its own; leaving for good is not, nor is the end of all memory.
local function pass_on(err)
  if not call.unwind then
    if not memory.is_out(err) then return end
    call.unwind = "memory"
  end
  raw_error(UNWIND, 0)
end

local function caught(ok, ...)
  if not ok then pass_on((...)) end
  return ok, ...
end

local function safe_pcall(f, ...)
  return caught(raw_pcall(f, ...))
end

-- The handler runs after the stack is gone, as an ordinary call: so it can be interrupted like any other.
local function handled(handler, ok, ...)
  if ok then return ok, ... end
  pass_on((...))
  return false, handler((...))
end

local function safe_xpcall(f, handler, ...)
  return handled(handler, raw_pcall(f, ...))
end

-- A lookup inside a rule's own coroutine yields through it to the kernel, and the answer goes back the same way.
local function resumed(co, ok, first, ...)
  if ok and first == ASK then return resumed(co, raw_resume(co, raw_yield(ASK, ...))) end
  if not ok then pass_on(first) end
  return ok, first, ...
end

local function safe_resume(co, ...)
  if type(co) ~= "thread" then raw_error("coroutine.resume: expects a coroutine, got " .. type(co), 2) end
  return resumed(co, raw_resume(co, ...))
end

local function unwrapped(ok, ...)
  if not ok then raw_error((...), 0) end
  return ...
end

-- Coroutines that rules made. The one that a handler runs in is none of them: the kernel's, or nothing at all. A rule that got
-- hold of it could answer a lookup in Redis' place.
local own = setmetatable({}, { __mode = "k" })

local function create(f, name)
  if type(f) ~= "function" then raw_error(("coroutine.%s: expects a function, got %s"):format(name, type(f)), 3) end
  local co = raw_create(f)
  own[co] = true
  return co
end

local function safe_create(f)
  return (create(f, "create"))
end

local function safe_wrap(f)
  local co = create(f, "wrap")
  return function(...) return unwrapped(safe_resume(co, ...)) end
end

local function safe_running()
  local co = raw_running()
  return own[co or false] and co or nil
end

local function safe_yield(...)
  if not safe_running() then raw_error("attempt to yield from outside a coroutine", 2) end
  return raw_yield(...)
end

-- Engine's tables say by a text in place of their metatable what they are.
local function check_writable(t, name)
  local kind = raw_getmetatable(t)
  if kind ~= nil and type(kind) ~= "table" and kind ~= "array" and kind ~= "ext" then
    raw_error(name .. ": this table cannot be written", 3)
  end
end

local function safe_rawset(t, k, v)
  check_writable(t, "rawset")
  return raw_rawset(t, k, v)
end

-- LuaJIT's own takes any position, makes 32 bits of it, and moves all that lies between: two thousand million steps for NaN, and
-- no limit on time can stop a function of C.
local function safe_insert(t, ...)
  check_writable(t, "table.insert")
  if select("#", ...) == 2 then
    local at = tonumber((...))
    if at and not (at >= 0 and at < 2147483648) then raw_error("table.insert: there is no position " .. raw_tostring(at), 2) end
  end
  return raw_insert(t, ...)
end

-- LuaJIT's own calls __tostring by a jump: with itself there, or with a way back to itself, it runs for ever in no place where
-- it could be stopped. A call of Lua that is not the last one has a place, and an end: the stack's.
local function safe_tostring(v)
  return (raw_tostring(v))
end

-- LuaJIT's own writes past __newindex.
local function safe_move(from, first, last, at, to)
  check_writable(to == nil and from or to, "table.move")
  return raw_move(from, first, last, at, to)
end

local function safe_getmetatable(v)
  if type(v) == "string" then return "string" end
  return raw_getmetatable(v)
end

-- sfc32 (Chris Doty-Humphrey, PractRand), 32-bit words; seeded from the entry's ID and the rule, so that a replay of the
-- same event draws the same numbers.
local function generator(a, b, c)
  local counter = 1
  local function draw()
    local sum = bit.tobit(bit.tobit(a + b) + counter)
    counter = bit.tobit(counter + 1)
    a = bit.bxor(b, bit.rshift(b, 9))
    b = bit.tobit(c + bit.lshift(c, 3))
    c = bit.tobit(bit.bor(bit.lshift(c, 21), bit.rshift(c, 11)) + sum)
    return sum % 4294967296
  end
  for _ = 1, 12 do draw() end
  return draw
end

local function seeded()
  local partition, rule = call.partition, call.rule
  local e = entry.at(partition.c, partition.c.at_entry)
  local ms, seq = e.ms, tonumber(e.seq)
  -- `when` and `key` (where there is no key yet) have a generator of their own: so the handler draws the same numbers
  -- whether it runs at once or has to wait.
  local flavour = call.key == nil and 1 or 0
  return generator(bit.tobit(ms % 4294967296),
    bit.tobit(math.floor(ms / 4294967296) * 65537 + seq % 4294967296), bit.tobit(rule.seed + flavour))
end

local function random(low, high)
  if not call.partition then raw_error("math.random is only valid inside a handler", 2) end
  local draw = call.random
  if not draw then
    draw = seeded()
    call.random = draw
  end
  local unit = (draw() * 2097152 + math.floor(draw() / 2048)) / 9007199254740992 -- 53 bits
  if low == nil then return unit end
  if high == nil then low, high = 1, low end
  if type(low) ~= "number" or type(high) ~= "number" or low > high then
    raw_error("math.random: the interval is empty", 2)
  end
  return math.floor(low) + math.floor(unit * (math.floor(high) - math.floor(low) + 1))
end

-- Lua's own names in a rule. Reading any other global is an error that names it.
local BASE = { "assert", "error", "ipairs", "rawequal", "rawget", "select", "setmetatable", "tonumber",
  "type", "unpack" }
local MATH = { "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod", "frexp", "huge",
  "ldexp", "log", "log10", "max", "min", "modf", "pi", "pow", "rad", "sin", "sinh", "sqrt", "tan", "tanh" }
local STRING = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse", "sub",
  "upper" }
local TABLE = { "concat", "maxn", "remove", "sort" }
local BIT = { "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift", "tobit", "tohex" }

local function copy_of(library, names)
  local copy = {}
  for _, name in ipairs(names) do copy[name] = library[name] end
  return copy
end

-- Text of any value; a rule's __tostring may give anything at all.
local function text_of(v)
  local text = tostring(v)
  return type(text) == "string" and text or "(a " .. type(text) .. ")"
end
environment.text_of = text_of

local LINE_TEXT = 4096 -- bytes of a log line that are kept

---The text of a log line: values side by side, and no more of them than a log can take.
function environment.line_of(...)
  local parts = {}
  for n = 1, select("#", ...) do parts[n] = text_of((select(n, ...))) end
  local line = table.concat(parts, " ")
  return #line > LINE_TEXT and line:sub(1, LINE_TEXT) .. " ..." or line
end

-- All that a rule finds without a `local`, by name.
local function visible_to_rules(require_module, print_line)
  local visible = copy_of(_G, BASE)
  visible.pcall, visible.xpcall, visible.rawset, visible.tostring = safe_pcall, safe_xpcall, safe_rawset, safe_tostring
  visible.getmetatable, visible.next, visible.pairs = safe_getmetatable, each.next, each.pairs
  visible.math = copy_of(math, MATH)
  visible.math.random = random
  visible.string = copy_of(string, STRING)
  visible.table = copy_of(table, TABLE)
  visible.table.insert, visible.table.move = safe_insert, safe_move
  visible.bit = copy_of(bit, BIT)
  visible.coroutine = {
    create = safe_create, resume = safe_resume, status = coroutine.status, wrap = safe_wrap, yield = safe_yield,
    running = safe_running, isyieldable = function() return safe_running() ~= nil end,
  }
  visible.collectgarbage = function(what)
    if what ~= "count" then raw_error("collectgarbage: only \"count\" is allowed in a rule", 2) end
    return collectgarbage "count"
  end
  visible.require = require_module
  visible.print = function(...) print_line((environment.line_of(...))) end
  return visible
end

---The names that a rule finds without a `local`, in their order.
---@return string[]
function environment.names()
  local names = {}
  for name in each.pairs(visible_to_rules(error, error)) do names[#names + 1] = name end
  table.sort(names)
  return names
end

---A fresh environment.
---@param require_module fun(name: string): any  what `require` does
---@param print_line fun(text: string)           where `print` goes
---@return table env
function environment.create(require_module, print_line)
  local visible = setmetatable(visible_to_rules(require_module, print_line), {
    __index = function(_, name) raw_error(("unknown global '%s'"):format(text_of(name)), 2) end,
  })
  -- The names live behind the environment, so that __newindex sees every write to a global.
  return setmetatable({}, {
    __index = visible,
    __newindex = function(_, name)
      raw_error(("writing the global '%s': rules have no globals; use `local`, or ctx.state for what must last")
        :format(text_of(name)), 2)
    end,
    __metatable = "environment",
  })
end

---The string metatable is shared by all code of a VM. In a VM of the engine's own its methods are the ones that rules have
---too, and it is closed for good. (The test kit leaves it alone: there it belongs to the spec's process.)
function environment.seal_strings()
  local metatable = debug.getmetatable ""
  if metatable.__metatable == "string" then return end
  metatable.__index = copy_of(string, STRING)
  metatable.__metatable = "string"
end

return environment
