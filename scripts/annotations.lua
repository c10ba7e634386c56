-- annotations.lua: writes the library of annotations that editors complete rules and their specs from:
--
--   luajit scripts/annotations.lua DIR
--
-- DIR/tidemill.lua and what lies below DIR/tidemill/ have, of each module that rules and specs may require, the comments that
-- begin with three dashes (LuaCATS) and the functions and values that they stand above, without what these do. Their one home
-- is src/runtime; src/library has what no line of Lua stands behind.
local MODULES = { "tidemill", "tidemill.window", "tidemill.testing" }
local ROOT = "src/runtime/"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  assert(loadstring(text, "@" .. path)) -- what an editor cannot parse stops the build
  local made = os.execute(("mkdir -p '%s'"):format(path:match "^(.*)/"))
  assert(made == 0 or made == true, path) -- Lua 5.1, 5.2
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- What remains of the line of code that a comment stands above; nil: the comment stands for itself; false: it is of no use to
-- an editor, as that of a local function.
local function declaration_of(line, owners, comment)
  local name = line:match "^local ([%a_][%w_]*) = "
  if name and comment:find "@class " then
    owners[name] = true
    return ("local %s = {}"):format(name)
  end
  local owner, rest = line:match "^function ([%a_][%w_]*)([.:][%a_][%w_]*%b())"
  if owner then return owners[owner] and ("function %s%s end"):format(owner, rest) or false end
  owner, rest = line:match "^([%a_][%w_]*)(%.[%a_][%w_]*) = "
  if owner then
    return owners[owner] and ("%s%s = %s"):format(owner, rest, comment:find "@class " and "{}" or "nil") or false
  end
  return not comment:find "@class " and not comment:find "@alias " and false or nil
end

-- The classes of the test kit stand with its parts, too.
local function classes_of(pattern)
  local out, pipe = {}, assert(io.popen("ls " .. ROOT .. pattern))
  for path in pipe:lines() do
    local comment = {}
    for line in (read(path) .. "\n"):gmatch "(.-)\n" do
      if line:find "^%-%-%-" then
        comment[#comment + 1] = line
      else
        local text = table.concat(comment, "\n")
        if text:find "@class tidemill%.testing%." then out[#out + 1] = text .. "\n" end
        comment = {}
      end
    end
  end
  pipe:close()
  return table.concat(out, "\n")
end

-- The annotations of one module's text.
local function annotations_of(text)
  local out, owners, comment = {}, {}, {}
  local function keep(declaration)
    if #comment > 0 and declaration ~= false then
      out[#out + 1] = table.concat(comment, "\n") .. (declaration and "\n" .. declaration or "") .. "\n"
    end
    comment = {}
  end
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if line:find "^%-%-%-" then
      comment[#comment + 1] = line
    else
      keep(declaration_of(line, owners, table.concat(comment, "\n")))
    end
  end
  out[#out + 1] = text:match "\n(return [%a_]+)\n*$"
  return table.concat(out, "\n")
end

local dir = assert(arg[1], "usage: luajit scripts/annotations.lua DIR")
for _, module in ipairs(MODULES) do
  local name = module:gsub("%.", "/") .. ".lua"
  local parts = module == "tidemill.testing" and classes_of "tidemill/testing_*.lua" or ""
  write(dir .. "/" .. name, ("---@meta %s\n-- Made by scripts/annotations.lua of %s%s.\n\n%s%s\n"):format(module, ROOT, name,
    parts ~= "" and parts .. "\n" or "", annotations_of(read(ROOT .. name))))
end
write(dir .. "/tidemill/redis.lua", read "src/library/redis.lua")
