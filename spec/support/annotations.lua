-- annotations.lua: reads LuaCATS annotations as an editor does, strictly: what it cannot parse is an error.
--
--   local library = annotations.read { "build/release/library/tidemill.lua", … }
--   library.classes["tidemill.ctx"].fields.emit        { type = "fun(…)", … }
--   library.references["tidemill.ctx"]                 "file:line" of a place that names it
--   library.members["tidemill"].rule                   true: the module's table has it
--   library.parse_type("fun(a: string): number")       as a tree
local annotations = {}

local BUILTIN = { string = true, number = true, integer = true, boolean = true, table = true, any = true, ["nil"] = true,
  ["function"] = true, void = true, unknown = true, thread = true, userdata = true, self = true }

-- ── types ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

local Parser = {}
Parser.__index = Parser

function Parser:skip() self.at = self.text:find("%S", self.at) or #self.text + 1 end

function Parser:take(pattern)
  self:skip()
  local first, last, capture = self.text:find("^" .. pattern, self.at)
  if not first then return nil end
  self.at = last + 1
  return capture or self.text:sub(first, last)
end

function Parser:need(pattern)
  local found = self:take(pattern)
  if not found then error(("expected %s at column %d of: %s"):format(pattern, self.at, self.text), 0) end
  return found
end

function Parser:params()
  local list = {}
  self:need "%("
  while not self:take "%)" do
    local name = self:take "%.%.%." or self:need "[%a_][%w_]*"
    local optional = self:take "%?" ~= nil
    list[#list + 1] = { name = name, optional = optional, type = self:take ":" and self:type() or nil }
    if not self:take "," then
      self:need "%)"
      break
    end
  end
  return list
end

function Parser:fields()
  local list = {}
  while not self:take "}" do
    local name = self:need "[%a_][%w_]*"
    local optional = self:take "%?" ~= nil
    self:need ":"
    list[name] = { optional = optional, type = self:type() }
    if not self:take "," then
      self:need "}"
      break
    end
  end
  return list
end

function Parser:base()
  local literal = self:take "\"[^\"]*\"" or self:take "%-?%d+"
  if literal then return { literal = literal } end
  if self:take "%(" then
    local inner = self:type()
    self:need "%)"
    return inner
  end
  if self:take "{" then return { fields = self:fields() } end
  if self:take "fun%f[%(]" then
    local one = { params = self:params() }
    if self:take ":" then one.returns = self:type() end
    return one
  end
  local name = self:need "[%a_][%w_.]*"
  self.names[#self.names + 1] = name
  local one = { name = name }
  if self:take "<" then
    repeat self:type() until not self:take ","
    self:need ">"
  end
  return one
end

function Parser:type()
  local union = {}
  repeat
    local one = self:base()
    while self:take "%[%]" do one = { list = one } end
    if self:take "%?" then one = { maybe = one } end
    union[#union + 1] = one
  until not self:take "|"
  return #union == 1 and union[1] or { union = union }
end

-- A type at the beginning of a text: the tree, the names in it, and what stands behind it.
function annotations.parse_type(text)
  local parser = setmetatable({ text = text, at = 1, names = {} }, Parser)
  local tree = parser:type()
  return tree, parser.names, text:sub(parser.at)
end

-- ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

local Reader = {}
Reader.__index = Reader

function Reader:type_of(text)
  local ok, tree, names, rest = pcall(annotations.parse_type, text)
  if not ok then error(("%s:%d: %s"):format(self.path, self.line, tree), 0) end
  for _, name in ipairs(names) do
    if not BUILTIN[name] and name ~= self.generic then self.library.references[name] = ("%s:%d"):format(self.path, self.line) end
  end
  return tree, rest
end

local TAGS = {}

function TAGS.meta() end

function TAGS.class(self, rest)
  local name, parent = rest:match "^([%w_.]+)%s*:?%s*([%w_.]*)"
  assert(not self.library.classes[name], name .. " is there twice")
  self.class = { fields = {} }
  self.library.classes[name] = self.class
  if parent ~= "" then self:type_of(parent) end
end

-- Its type stands behind it, or below in lines of `---| "one" | "other"`.
function TAGS.alias(self, rest)
  local name, given = rest:match "^([%w_.]+)%s*(.*)$"
  assert(not self.library.classes[name], name .. " is there twice")
  self.library.classes[name] = { alias = given ~= "" and self:type_of(given), fields = {} }
end

function TAGS.field(self, rest)
  assert(self.class, "a field of no class: " .. rest)
  local name, optional, given = rest:match "^([%w_]+)(%??)%s+(.+)$"
  if not name then name, optional, given = rest:match "^(%[%w+%])(%??)%s+(.+)$" end
  assert(name and given, "no field: " .. rest)
  assert(not self.class.fields[name], name .. " is there twice")
  self.class.fields[name] = { optional = optional == "?", type = self:type_of(given) }
end

function TAGS.param(self, rest)
  local name, given = rest:match "^([%w_]+%??)%s+(.+)$"
  assert(name, "no parameter: " .. rest)
  self:type_of(given)
  self.params[#self.params + 1] = name:gsub("%?$", "")
end

TAGS["return"] = function(self, rest)
  repeat
    local _, behind = self:type_of(rest)
    rest = behind:match "^%s*[%w_]*%s*,%s*(.+)$"
  until not rest
end

TAGS["type"] = function(self, rest) self:type_of(rest) end
TAGS.overload = function(self, rest) self:type_of(rest) end
TAGS.generic = function(self, rest) self.generic = rest:match "^[%w_]+" end

-- A line of code: what it declares must have the parameters that stand above it.
function Reader:code(line)
  local owner, name, given = line:match "^function ([%w_]+)[.:]([%w_]+)%((.-)%) end$"
  if not owner then owner, name = line:match "^([%w_]+)%.([%w_]+) = " end
  if owner then
    local members = self.library.members[owner] or {}
    self.library.members[owner], members[name] = members, true
  end
  local wanted = table.concat(self.params, ", ")
  assert(wanted == "" or given == wanted,
    ("%s:%d: the parameters are (%s), annotated (%s)"):format(self.path, self.line, given or "", wanted))
  self.params, self.class, self.generic = {}, nil, nil
end

function annotations.read(paths)
  local library = { classes = {}, references = {}, members = {}, parse_type = annotations.parse_type }
  for _, path in ipairs(paths) do
    assert(loadfile(path))
    local reader = setmetatable({ library = library, path = path, line = 0, params = {} }, Reader)
    for line in io.lines(path) do
      reader.line = reader.line + 1
      local tag, rest = line:match "^%-%-%-@(%a+)%s*(.*)$"
      local more = line:match "^%-%-%-|%s*(.+)$"
      if more then
        reader:type_of(more)
      elseif tag then
        local read = TAGS[tag] or error(("%s:%d: unknown tag @%s"):format(path, reader.line, tag), 0)
        read(reader, rest)
      elseif line:find "^%S" and not line:find "^%-%-" then
        reader:code(line)
      elseif line == "" then
        reader.class = nil
      end
    end
  end
  return library
end

return annotations
