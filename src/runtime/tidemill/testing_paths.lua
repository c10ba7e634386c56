-- testing_paths.lua: where files of a project lie, for the test kit: specs say "rules/cart.lua" from wherever they are run.
local paths = {}

---The folder that `tidemill test DIR` was given; nil: none.
paths.root = nil

local here -- the current folder

---The current folder, absolute. A process of its own, so only asked for when it is needed.
function paths.current()
  if not here then
    local pipe = assert(io.popen "pwd")
    here = pipe:read "*l"
    pipe:close()
  end
  return here
end

---"a/./b/../c" -> "/…/a/c"
function paths.absolute(path)
  if path:sub(1, 1) ~= "/" then path = paths.current() .. "/" .. path end
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return "/" .. table.concat(parts, "/")
end

---For people: what lies below the current folder from there on, all else as it is.
function paths.shown(path)
  local absolute, folder = paths.absolute(path), paths.current():gsub("/$", "")
  if absolute == folder then return "." end
  return absolute:sub(1, #folder + 1) == folder .. "/" and absolute:sub(#folder + 2) or absolute
end

---The folder of a file: "rules/cart.lua" -> "rules", "cart.lua" -> ".".
function paths.folder_of(path) return path:match "^(.+)/[^/]*$" or (path:sub(1, 1) == "/" and "/" or ".") end

local function join(folder, path) return folder == "." and path or (folder:gsub("/$", "") .. "/" .. path) end
paths.join = join

function paths.is_folder(path)
  local file = io.open(path .. "/.", "rb")
  if file then file:close() end
  return file ~= nil
end

---The bytes of a file; nil when there is none.
function paths.read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a" -- nil of a folder
  if file then file:close() end
  return text
end

function paths.is_file(path) return paths.read(path) ~= nil end

---A word for the shell.
function paths.quote(path) return "'" .. path:gsub("'", "'\\''") .. "'" end

---What `find` prints in a folder, in order, as names relative to it; nothing when there is none. (NULs, because a name may hold
---a line's end.)
---@param folder string
---@param expression string  of find: its options, where to begin, and what to look for
---@return string[]
function paths.list(folder, expression)
  local names = {}
  local pipe = assert(io.popen(("cd %s 2>/dev/null && find %s -print0 2>/dev/null"):format(paths.quote(folder), expression)))
  for name in pipe:read "*a":gmatch "[^%z]+" do names[#names + 1] = name:gsub("^%./", "") end
  pipe:close()
  table.sort(names)
  return names
end

-- A folder, and those that it lies in, innermost first.
local function upwards(folder)
  local list, at = {}, paths.absolute(folder)
  while true do
    list[#list + 1] = at
    if at == "/" then return list end
    at = paths.folder_of(at)
  end
end

---Looks a path of a spec up: from the current folder, from that of `tidemill test DIR`, and from the spec's own folder upwards.
---@param path string
---@param from string|nil  the folder of the file that asks
---@param exists fun(path: string): boolean
---@return string|nil found, string[] places  that were looked at
function paths.find(path, from, exists)
  local places = {}
  local function look(place)
    for _, other in ipairs(places) do
      if other == place then return false end
    end
    places[#places + 1] = place
    return exists(place)
  end
  if look(path) then return path, places end
  if path:sub(1, 1) == "/" then return nil, places end
  if paths.root and look(join(paths.root, path)) then return join(paths.root, path), places end
  for _, folder in ipairs(from and upwards(from) or {}) do
    local place = paths.shown(join(folder, path))
    if look(place) then return place, places end
  end
  return nil, places
end

---The nearest folder or file of a name: beside a file, then upwards, then where `find` looks.
function paths.nearest(name, from, exists)
  for _, folder in ipairs(upwards(from)) do
    local place = paths.shown(join(folder, name))
    if exists(place) then return place end
  end
  return (paths.find(name, nil, exists))
end

return paths
