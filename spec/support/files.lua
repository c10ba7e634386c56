-- files.lua: temporary folders that go away with the specs, and whole files at once.
local ffi = require "ffi"

ffi.cdef [[
  char *mkdtemp(char *pattern);
  int getpid(void);
]]

local files = {}

-- Folders of this process; removed when the Lua state is closed, which busted does at its end.
-- KEEP=1 leaves them to look at.
local folders = {}
local owner_pid = ffi.C.getpid()

local function quote(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

local sweeper = newproxy(true)
getmetatable(sweeper).__gc = function()
  if ffi.C.getpid() ~= owner_pid or os.getenv("KEEP") then
    return -- a forked child must not sweep its parent's folders
  end
  for path in pairs(folders) do
    os.execute("rm -rf " .. quote(path))
  end
end
-- Lives as long as the state, even when busted forgets this module.
debug.getregistry()[sweeper] = true

-- A new empty folder; its path is short, so that unix sockets fit in.
function files.temp_folder()
  local pattern = ffi.new("char[?]", 64, "/tmp/tidemill-XXXXXX")
  assert(ffi.C.mkdtemp(pattern) ~= nil, "mkdtemp failed")
  local path = ffi.string(pattern)
  folders[path] = true
  return path
end

function files.remove_folder(path)
  assert(folders[path], "only folders of temp_folder are removed")
  os.execute("rm -rf " .. quote(path))
  folders[path] = nil
end

function files.make_folder(path)
  os.execute("mkdir -p " .. quote(path))
  return path
end

-- A new folder with files in it: texts by name, "rules/a.lua" for one; false: not that one.
function files.folder_with(list)
  local path = files.temp_folder()
  for name, text in pairs(list) do
    files.make_folder(path .. "/" .. (name:match "^(.*)/" or ""))
    if text then files.write_file(path .. "/" .. name, text) end
  end
  return path
end

-- The bytes of a file, or nil when it cannot be read.
function files.read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function files.write_file(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

function files.append_file(path, bytes)
  local file = assert(io.open(path, "ab"))
  file:write(bytes)
  file:close()
end

function files.exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

files.quote = quote

return files
