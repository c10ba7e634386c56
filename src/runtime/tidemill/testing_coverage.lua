-- testing_coverage.lua: which lines of the rules ran while they were tested (`tidemill test --coverage`).
--
-- The lines that can run are asked from the compiler: those that have an instruction in a function of the file, however deep. A line
-- of nothing but `end` and brackets is left out: it says nothing, and the compiler puts instructions there that are never reached.
local hook = require "tidemill.testing_hook"
local paths = require "tidemill.testing_paths"

local coverage = {}

-- By absolute path: the lines that ran. nil: nobody wants to know.
local ran

---From now on lines are counted, of every file of rules that is loaded.
function coverage.begin()
  ran = {}
  hook.count_lines()
end

---Where the lines of a folder's files are to be marked: by chunk name.
---@param files { name: string, path: string? }[]  one without a path is not counted
---@return table<string, table<number, boolean>>
function coverage.lines_of(files)
  local lines = {}
  if not ran then return lines end
  for _, file in ipairs(files) do
    local path = file.path and paths.absolute(file.path)
    if path then
      ran[path] = ran[path] or {}
      lines["@" .. file.name] = ran[path]
    end
  end
  return lines
end

-- Adds the lines of a function, or of what the compiler made of one, and of those that it makes.
local function add_lines(util, f, lines)
  for pc = 1, util.funcinfo(f).bytecodes - 1 do
    local line = util.funcinfo(f, pc).currentline
    if line and line > 0 then lines[line] = true end
  end
  local n = -1
  while true do
    local constant = util.funck(f, n)
    if constant == nil then return end
    if type(constant) == "proto" then add_lines(util, constant, lines) end
    n = n - 1
  end
end

-- Is there something on the line besides ends?
local function says_something(line)
  local rest = line:gsub("%-%-.*$", ""):gsub("%f[%w_]end%f[^%w_]", ""):gsub("%f[%w_]else%f[^%w_]", ""):gsub("[%s%(%)%]},;]", "")
  return rest ~= ""
end

---The lines of a text that can run, in order. None, of a text with a mistake in it.
---@return number[]
function coverage.lines_that_can_run(text)
  local chunk = loadstring(text, "=lines")
  if not chunk then return {} end
  local lines, list, number = {}, {}, 0
  add_lines(require "jit.util", chunk, lines)
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    if lines[number] and says_something(line) then list[#list + 1] = number end
  end
  return list
end

-- Lines side by side as one range; those that cannot run do not part two: "14-17, 22".
local function ranges(can_run, has_run)
  local list, first, last = {}, nil, nil
  local function finish()
    if first then list[#list + 1] = first == last and tostring(first) or ("%d-%d"):format(first, last) end
    first = nil
  end
  for _, line in ipairs(can_run) do
    if has_run[line] then
      finish()
    else
      first, last = first or line, line
    end
  end
  finish()
  return table.concat(list, ", ")
end

---What came of it, a row a file in the order of their names.
---@param more string[]  paths of files that count also when nothing has loaded them
---@return { file: string, lines: number, covered: number, missed: string }[]
function coverage.rows(more)
  local all, rows = {}, {}
  for path in pairs(ran or {}) do all[path] = true end
  for _, path in ipairs(more) do all[paths.absolute(path)] = true end
  for path in pairs(all) do
    local text = paths.read(path)
    if text then
      local can_run, has_run, covered = coverage.lines_that_can_run(text), ran[path] or {}, 0
      for _, line in ipairs(can_run) do covered = covered + (has_run[line] and 1 or 0) end
      rows[#rows + 1] = { file = paths.shown(path), lines = #can_run, covered = covered, missed = ranges(can_run, has_run) }
    end
  end
  table.sort(rows, function(a, b) return a.file < b.file end)
  return rows
end

local function percent(row) return row.lines == 0 and "-" or ("%d %%"):format(math.floor(100 * row.covered / row.lines)) end

---The table for people, lines and all.
---@param rows { file: string, lines: number, covered: number, missed: string }[]
---@return string
function coverage.table(rows)
  local cells, total = { { "FILE", "LINES", "COVERED", "", "MISSED" } }, { file = "all", lines = 0, covered = 0, missed = "" }
  for _, row in ipairs(rows) do
    total.lines, total.covered = total.lines + row.lines, total.covered + row.covered
    cells[#cells + 1] = { row.file, tostring(row.lines), tostring(row.covered), percent(row), row.missed }
  end
  if #rows > 1 then cells[#cells + 1] = { total.file, tostring(total.lines), tostring(total.covered), percent(total), "" } end
  local widths = {}
  for _, row in ipairs(cells) do
    for n, cell in ipairs(row) do widths[n] = math.max(widths[n] or 0, #cell) end
  end
  for n, row in ipairs(cells) do
    cells[n] = ("%-" .. widths[1] .. "s  %" .. widths[2] .. "s  %" .. widths[3] .. "s  %" .. widths[4] .. "s  %s"):format(unpack(row))
      :gsub("%s+$", "")
  end
  return table.concat(cells, "\n") .. "\n"
end

return coverage
