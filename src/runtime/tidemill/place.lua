-- place.lua: where in a file's text a mistake stands (line, column and width of the word meant), and which name was meant.
--
-- A place is { line, column, width }: from 1 on, in bytes; column and width are 0 where nothing on the line can be pointed at.
local environment = require "tidemill.environment"
local nearest = require "tidemill.nearest"
local pairs = require("tidemill.each").pairs

local place = {}

---@class tidemill.place
---@field line number
---@field column number
---@field width number

-- Lines with their numbers. (Without a copy of the text: a file that is as large as the memory allows has a mistake, too.)
local function lines_of(text)
  local line, at = 0, 1
  return function()
    if at > #text + 1 then return nil end
    local stop = text:find("\n", at, true) or #text + 1
    local last = text:byte(stop - 1) == 13 and stop - 2 or stop - 1
    local one = text:sub(at, last)
    line, at = line + 1, stop + 1
    return line, one
  end
end

---The text of a line, without its end; nil when the file is shorter.
---@return string|nil
function place.line_text(text, line)
  for number, one in lines_of(text) do
    if number == line then return one end
  end
  return nil
end

-- A pattern that finds this text.
local function literally(text) return (text:gsub("%W", "%%%0"):gsub("%%%z", "%%z")) end

-- Where a word begins in a line, as a whole word when it is one. Its last byte comes second.
local function find_word(line, word, from)
  local pattern = literally(word)
  if word:find "^[%w_]" then pattern = "%f[%w_]" .. pattern end
  if word:find "[%w_]$" then pattern = pattern .. "%f[^%w_]" end
  return line:find(pattern, from or 1)
end

---Where a field of the rule table is given. The rule table stands at the end, behind the last `return` at the left margin; what
---stands before it is looked at when nothing is found there.
---@return tidemill.place|nil
function place.of_field(text, field)
  local pattern = "%f[%w_]" .. literally(field) .. "%f[^%w_][\"']?%s*%]?%s*=%f[^=]"
  local found, first
  for number, line in lines_of(text) do
    if line:find "^return%f[^%w_]" then found = nil end
    local at = line:find(pattern)
    if at and not line:sub(1, at - 1):find "%-%-" and line:sub(at - 1, at - 1) ~= "." then
      local here = { line = number, column = at, width = #field }
      found, first = found or here, first or here
    end
  end
  return found or first
end

---Where the rule table begins: the last `return` at the left margin; the file's first line where there is none.
---@return tidemill.place
function place.of_rule(text)
  local found
  for number, line in lines_of(text) do
    if line:find "^return%f[^%w_]" then found = { line = number, column = 1, width = #"return" } end
  end
  return found or { line = 1, column = 0, width = 0 }
end

-- ── errors of Lua ───────────────────────────────────────────────────────────────────────────────────────────────────────

local PLACES_MOST = 32       -- of a word on a line that are tried
local TEXT_MOST = 256 * 1024 -- bytes of a file of which that is asked: it is compiled once more for each place

-- Of the places of `word` on the line the one at which Lua gave up: where the text up to and with it is refused in the same words.
local function give_up_at(text, line, word)
  local begin = 1
  for _ = 2, line do begin = (text:find("\n", begin, true) or #text) + 1 end
  local stop = (text:find("\n", begin, true) or #text + 1) - 1
  local line_text = text:sub(begin, stop)
  local first, last = find_word(line_text, word)
  if #text > TEXT_MOST then return first end
  local _, whole = loadstring(text, "=x")
  local at = first
  for _ = 1, PLACES_MOST do
    if not at then break end
    local _, cut = loadstring(text:sub(1, begin + last - 1), "=x")
    if cut == whole then return at end
    at, last = find_word(line_text, word, at + 1)
  end
  return first
end

-- The words that a message quotes; of `event.total` the last part.
local function quoted_in(message)
  local words = {}
  for mark, word in message:gmatch "(['`])([^'`%s]+)['`]" do
    words[#words + 1] = mark == "`" and word:match "([%w_]+)$" or word
  end
  return words
end

---Where on its line an error of Lua, or of a function that a rule calls, stands: at the word that its message ends with ("near
---'x'"), or at the first of those that it quotes and the line has.
---@return tidemill.place
function place.of_message(text, line, message)
  local near = message:match "near '(.+)'$"
  if near then
    local at = near ~= "<eof>" and give_up_at(text, line, near)
    return { line = line, column = at or 0, width = at and #near or 0 }
  end
  local line_text = place.line_text(text, line) or ""
  for _, word in ipairs(quoted_in(message)) do
    local at = find_word(line_text, word)
    if at then return { line = line, column = at, width = #word } end
  end
  return { line = line, column = 0, width = 0 }
end

-- ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The locals of a file, by the look of it, and the names that a rule has anyway.
local function names_in(text)
  local names = {}
  for _, name in ipairs(environment.names()) do names[#names + 1] = name end
  for list in text:gmatch "%f[%w_]local%s+([%a_][%w_,%s]*)" do
    for name in list:gmatch "[%a_][%w_]*" do names[#names + 1] = name end
  end
  for name in text:gmatch "%f[%w_]local%s+function%s+([%a_][%w_]*)" do names[#names + 1] = name end
  return names
end

-- What a module that the line takes `field` from has; nil when it takes it from something else.
local function members_of(text, line_text, field, modules)
  local owner = line_text:match("([%a_][%w_]*)%s*%.%s*" .. field .. "%f[^%w_]")
  if not owner then return nil end
  local pattern = "%f[%w_]" .. owner .. "%s*=%s*require%s*%(?%s*[\"']([%w_.]+)[\"']"
  local module = text:match(pattern) or ("tidemill." .. owner)
  if not modules[module] then return nil end
  local names = {}
  for name in pairs(require(module)) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Names of Lua itself that rules do without, such as `io`: whoever writes them means them.
local function is_lua_name(name) return rawget(_G, name) ~= nil end

---The nearest known name, for the end of an error of Lua that is about an unknown one: "; did you mean `x`?", or "".
---@param modules table<string, true>  those that a rule may require
---@return string
function place.hint(text, line, message, modules)
  local global = message:match "^unknown global '([%a_][%w_]*)'$"
  local field = message:match "^attempt to %a+ field '([%a_][%w_]*)' %(a nil value%)$"
  local meant
  if global and not is_lua_name(global) then
    meant = nearest.name(global, names_in(text))
    if meant == global then return "" end -- a local of another block
  elseif field then
    local members = members_of(text, place.line_text(text, line) or "", field, modules)
    meant = members and nearest.name(field, members)
  end
  return meant and ("; did you mean `%s`?"):format(meant) or ""
end

return place
