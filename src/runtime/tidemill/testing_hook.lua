-- testing_hook.lua: the test kit's one debug hook: it stops rules that are over their time, as sandbox/limit.c does in the engine,
-- and counts the lines that ran, for coverage.
--
-- It is set while the kernel runs or a rule file is loaded, and whatever hook was there (luacov, a debugger) is put back then. One
-- that is no Lua function cannot be put back by Lua, so it is left alone, and there is no limit on time.
--
-- A hook is called by the interpreter, all coroutines included, and never by compiled code. So the kit has the JIT off (testing.lua);
-- with TIDEMILL_JIT=1 a loop of a rule that has been compiled is stopped only when it ends, and its lines count once. Patterns and
-- other functions of C are one instruction, however long they take: in the engine that is what `hard_ms` is for.
local call = require "tidemill.call"
local limits = require "tidemill.limits"

local hook = {}

local EVERY = 1000 -- instructions: some 10 µs
-- What takes longer in the kit than in the engine is no fault of the rule:
local SLOWER = 10      -- its own lines, when they are counted
local SLOWER_OURS = 50 -- what it calls: packing, lookups, timers, which the engine does compiled or in C

local sethook, gethook, getinfo, clock = debug.sethook, debug.gethook, debug.getinfo, os.clock

-- What is watched now; nil: nothing. { look, lines }: `look` is called every so many instructions, `lines` are tables by the source
-- of a chunk, in which the lines that ran are marked.
local watched
local is_counting = false -- lines

-- The lines of a function's file, or false; a function stays what it is.
local lines_of = setmetatable({}, { __mode = "k" })

local function on_hook(what, line)
  local watch = watched
  if not watch then return end
  if what ~= "line" then return watch:look() end
  local f = getinfo(2, "f").func
  local lines = lines_of[f]
  if lines == nil then
    lines = watch.lines and watch.lines[getinfo(2, "S").source] or false
    lines_of[f] = lines
  end
  if lines then lines[line] = true end
end

local function set(every) sethook(on_hook, is_counting and "l" or "", every) end

---From now on lines are counted, too.
function hook.count_lines() is_counting = true end

local function put_back(outer, f, mask, count, ok, ...)
  watched = outer
  sethook(f, mask, count)
  if not ok then error((...), 0) end
  return ...
end

-- Calls a function under the hook.
local function under(watch, f, ...)
  local before, mask, count = gethook()
  if before ~= nil and type(before) ~= "function" then return f(...) end
  local outer = watched
  watched = watch
  set(EVERY)
  return put_back(outer, before, mask, count, pcall(f, ...))
end

-- ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local Run = {}
Run.__index = Run

local HOST = { "testing_host.lua", "testing_timers.lua", "testing_commands.lua" }

-- What the engine does in C, and so cannot be broken off in the middle of, is Lua in the kit. Is that what runs?
local function is_in_host(sources)
  for level = 2, 100 do
    local info = getinfo(level, "S")
    if not info or sources[info.source] then return false end
    for _, name in ipairs(HOST) do
      if info.source:sub(-#name) == name then return true end
    end
  end
  return false
end

-- As on_tick in sandbox/limit.c.
function Run:look()
  local mark = self.kernel.mark
  local rule, serial = mark.rule, mark.serial
  if rule == 0 then
    self.rule = 0
    return
  end
  local now = clock()
  if rule ~= self.rule or serial ~= self.serial then
    self.rule, self.serial, self.last, self.spent_us = rule, serial, now, 0
    mark.is_seen = 1
  end
  local is_own = self.kernel.sources[getinfo(2, "S").source]
  local slower = not is_own and SLOWER_OURS or is_counting and SLOWER or 1
  self.last, self.spent_us = now, self.spent_us + (now - self.last) * 1e6 / slower
  if self.spent_us + mark.spent_us < self.kernel.rules[rule].limits.rule_ms * 1000 then return end
  if is_in_host(self.kernel.sources) then return set(1) end -- the next instruction, then
  set(EVERY)
  error(limits.interrupt(self.kernel), 0)
end

---Watches the runs of a kernel.
---@param lines table<string, table<number, boolean>>  by chunk name: where the lines that ran are marked
---@return table watch  for hook.run
function hook.of_kernel(kernel, lines)
  return setmetatable({ kernel = kernel, lines = lines, rule = 0, serial = 0, last = 0, spent_us = 0 }, Run)
end

---Calls a function as one that may run rules. Without `watch` there is no hook, and no limit on time.
function hook.run(watch, f, ...)
  if not watch then return f(...) end
  return under(watch, f, ...)
end

-- ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local Load = {}
Load.__index = Load

-- The innermost line of a file of the folder; nil when none of them is running (any more).
local function line_of(sources)
  for level = 2, 200 do
    local info = getinfo(level, "Sl")
    if not info then return nil end
    if sources[info.source] then return ("%s:%d: "):format(info.short_src, info.currentline) end
  end
  return nil
end

function Load:look()
  if clock() < self.deadline then return end
  local where = line_of(self.sources)
  if not where then return end
  self.where = self.where or where
  call.unwind = "time" -- which no pcall of the file passes over
  error(call.UNWIND, 0)
end

---What calls the chunks of a folder's files (rulebook.load: `call`): as pcall does, and all of them within `ms` of CPU time.
---@param ms number
---@param sources table<string, boolean>  the names of the folder's chunks
---@param lines table<string, table<number, boolean>>
---@return fun(chunk: function): boolean, any
function hook.loader(ms, sources, lines)
  local used, most = 0, ms / 1000 * (is_counting and SLOWER or 1)
  return function(chunk)
    local began = clock()
    local watch = setmetatable({ deadline = began + most - used, sources = sources, lines = lines }, Load)
    local ok, result = under(watch, pcall, chunk)
    used = used + clock() - began
    if not watch.where then return ok, result end
    call.unwind, used = nil, 0 -- as in sandbox/load_limit.c: the next file has time of its own
    return false, ("%sloading took longer than %d ms (limits.load_ms)"):format(watch.where, ms)
  end
end

return hook
