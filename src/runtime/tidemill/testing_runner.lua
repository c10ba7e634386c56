-- testing_runner.lua: what `tidemill test` does: finds the specs and cases of a project, runs them all, and says what came of it.
--
-- Specs are run by busted, a library that is looked for on the disk: cases run without it. It keeps spec files apart (globals and
-- what they required are put back), but modules that were loaded before it stay: so all of them share this kit, and lines of rules
-- are counted over all of them.
local cases = require "tidemill.testing_cases"
local coverage = require "tidemill.testing_coverage"
local paths = require "tidemill.testing_paths"
local testing = require "tidemill.testing"

local runner = {}

local CURE = "apt-get install lua-busted, or luarocks install busted (for LuaJIT, as for Lua 5.1)"

-- ── what is said ────────────────────────────────────────────────────────────────────────────────────────────────────────

local Report = {}
Report.__index = Report

function Report:colour(code, text) return self.is_coloured and ("\27[%sm%s\27[0m"):format(code, text) or text end

-- The line that shows how far it is; the next thing that is said takes its place.
function Report:progress(file)
  if not self.is_watched then return end
  io.write(("\r\27[K%s  %s"):format(self:counts(), file))
  io.flush()
end

function Report:say(text)
  if self.is_watched then io.write "\r\27[K" end
  io.write(text, "\n")
  io.flush()
end

-- "spec/cart_spec.lua:7: what", and why.
function Report:failure(head, body)
  self.failed = self.failed + 1
  self:tell(head, body)
end

function Report:tell(head, body)
  self:say(self:colour("1;31", "FAILED") .. "  " .. head)
  if not body or not body:find "%S" then return end
  for line in (body:gsub("%s+$", "") .. "\n"):gmatch "(.-)\n" do self:say(line == "" and "" or "    " .. line) end
end

function Report:counts()
  local text = self:colour("32", self.passed .. " passed") .. ", "
    .. (self.failed > 0 and self:colour("1;31", self.failed .. " failed") or self.failed .. " failed")
  if self.pending > 0 then text = text .. ", " .. self.pending .. " pending" end
  if self.left_out > 0 then text = ("%s, %d spec file%s not run"):format(text, self.left_out, self.left_out == 1 and "" or "s") end
  return text
end

-- ── specs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function load_busted()
  local ok, core = pcall(require, "busted.core")
  if not ok then
    local is_absent = tostring(core):find("module 'busted.core' not found", 1, true)
    return nil, is_absent and "busted is not installed" or "busted cannot be loaded: " .. tostring(core):match "^[^\n]*"
  end
  local busted = core()
  require "busted"(busted)
  return busted
end

-- "cart reminds after half an hour", and the spec file.
local function names_of(busted, element)
  local names, file = {}, nil
  while element do
    if element.descriptor == "file" then file = element.name end
    if element.descriptor ~= "file" and element.descriptor ~= "suite" then
      table.insert(names, 1, tostring(element.name or element.descriptor))
    end
    element = busted.context.parent(element)
  end
  return table.concat(names, " "), file
end

-- A message of busted's begins with its place; Lua keeps only the end of a long path there.
local function place_of(message, file, trace)
  local place, line, rest = message:match "^([^\n]-):(%d+): (.*)$"
  if not place and file then
    place, line, rest = file, trace and trace.currentline or 1, message
  end
  local tail = place and place:match "^%.%.%.(.+)$"
  if tail and file and file:sub(-#tail) == tail then place = file end
  return place and ("%s:%s"):format(place, line) or "?", rest or message
end

local function tell_failure(report, busted, element, message, trace)
  local name, file = names_of(busted, element)
  local place, rest = place_of(tostring(message), file, type(trace) == "table" and trace.currentline and trace or nil)
  if place:find "%.cases%.jsonl:%d+$" then return report:tell(place .. ": " .. rest:match "^[^\n]*", rest:match "\n(.*)$") end
  if name == "" then return report:tell(place .. ": " .. rest) end
  report:tell(place .. ": " .. name, rest)
end

local function subscribe(report, busted)
  local broken = {} -- tests that were told of
  local function on_failure(element, _, message, trace)
    if broken[element] then return nil, true end
    broken[element] = true
    report.failed = report.failed + 1 -- first: what a spec has done to `string` may leave nothing to tell it with
    tell_failure(report, busted, element, message, trace)
    return nil, true
  end
  busted.subscribe({ "failure" }, on_failure)
  busted.subscribe({ "error" }, on_failure)
  busted.subscribe({ "test", "end" }, function(element, _, status)
    if status == "success" then report.passed = report.passed + 1 end
    if status == "pending" then report.pending = report.pending + 1 end
    report:progress(select(2, names_of(busted, element)) or "")
    return nil, true
  end)
end

-- Calls a function while os.exit raises: a spec that calls it would end all tests, and with them the word that any has failed.
local function without_exit(f)
  local exit = os.exit
  rawset(os, "exit", function() error("os.exit: a spec cannot end the program, all tests would end with it", 2) end)
  f()
  rawset(os, "exit", exit)
end

-- Those that can be read; the others have failed.
local function readable(report, files)
  local list = {}
  for _, file in ipairs(files) do
    if paths.is_file(file) then list[#list + 1] = file else report:failure(file .. ":1: cannot be read") end
  end
  return list
end

local function run_specs(report, files)
  files = readable(report, files)
  if #files == 0 then return true end
  local busted, why = load_busted()
  if not busted then
    report.left_out = #files
    report:say(("%s  %d spec file%s not run, because %s: %s"):format(report:colour("1;31", "FAILED"), #files,
      #files == 1 and " was" or "s were", why, CURE))
    return false
  end
  subscribe(report, busted)
  local load_files = require "busted.modules.test_file_loader"(busted, { "lua" })
  without_exit(function()
    load_files(files, {}, { excludes = {} })
    require "busted.execute"(busted)(1, { seed = 1 })
  end)
  return true
end

-- ── cases ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function run_cases(report, files)
  for _, file in ipairs(files) do
    report:progress(file)
    cases.run(file, nil, function(result)
      if result.is_passed then
        report.passed = report.passed + 1
      else
        local head, body = cases.text(result, report.is_coloured):match "^([^\n]*)\n?(.*)$"
        report:failure(head, body)
      end
    end)
  end
end

-- ── the whole ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function sort_out(name, specs, lists)
  if name:find "_spec%.lua$" then specs[#specs + 1] = name end
  if name:find "%.cases%.jsonl$" then lists[#lists + 1] = name end
end

-- Links to files, too; links to folders are not gone into: what is there is found, or is no part of the project.
local TESTS = "\\( -name '.?*' -o -name node_modules -o -name build \\) -prune -o "
  .. "\\( -type f -o -type l \\) \\( -name '*_spec.lua' -o -name '*.cases.jsonl' \\)"

-- The spec files and the files of cases below a folder, in order.
local function find_files(path)
  local specs, lists = {}, {}
  if not paths.is_folder(path) then
    if paths.is_file(path) then sort_out(path, specs, lists) end
    return specs, lists
  end
  for _, name in ipairs(paths.list(path, ". " .. TESTS)) do
    local place = paths.join(path, name)
    if not paths.is_folder(place) then sort_out(place, specs, lists) end
  end
  return specs, lists
end

local function show_coverage(report, folder, rules)
  rules = rules or paths.nearest("rules", folder, paths.is_folder)
  local more = {}
  for _, name in ipairs(rules and testing.list_folder(rules) or {}) do more[#more + 1] = paths.join(rules, name) end
  local rows = coverage.rows(more)
  if #rows == 0 then return report:say "no rules were loaded, and there is no folder rules/: nothing to cover\n" end
  report:say(coverage.table(rows))
end

---@class tidemill.testing_runner.options
---@field path string             folder, or one file
---@field rules string|nil        the rules folder, when the settings or a flag name one
---@field settings table          of testing.load: limits, outputs, …
---@field wants_coverage boolean
---@field is_watched boolean      is standard output a terminal?
---@field is_coloured boolean

---@param options tidemill.testing_runner.options
---@return number status  of the program
function runner.run(options)
  local report = setmetatable({ passed = 0, failed = 0, pending = 0, left_out = 0, is_watched = options.is_watched,
    is_coloured = options.is_coloured }, Report)
  local specs, lists = find_files(options.path)
  if #specs + #lists == 0 then
    io.stderr:write(("tidemill: there is no *_spec.lua and no *.cases.jsonl %s %s\n"):format(
      paths.is_folder(options.path) and "below" or "at", options.path))
    return 1
  end
  local folder = paths.is_folder(options.path) and options.path or paths.folder_of(options.path)
  if folder ~= "." then
    paths.root = folder
    package.path = ("%s;%s/?.lua;%s/?/init.lua"):format(package.path, folder, folder)
  end
  testing.settings, testing.settings_rules = options.settings, options.rules
  if options.wants_coverage then coverage.begin() end
  local could = run_specs(report, specs)
  run_cases(report, lists)
  if options.wants_coverage then show_coverage(report, folder, options.rules) end
  local is_empty = report.passed + report.failed + report.pending == 0
  if is_empty and could then report:say "none of the files holds a test" end
  report:say(report:counts())
  return (could and report.failed == 0 and not is_empty) and 0 or 1
end

return runner
