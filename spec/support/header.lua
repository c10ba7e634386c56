-- header.lua: the engine's C, seen from specs: reads our own headers instead of repeating them, and
-- loads the library.
--
--   local header = require "spec.support.header"
--   local C = header.load("src/base/log.h", "src/base/buf.h")
--
-- The library is TIDEMILL_LIB, or build/release/libtidemill.so.
local ffi = require "ffi"

local header = {}
-- What is defined stays so for the whole process, while busted forgets modules between two files: so this is kept outside of them.
local registry = debug.getregistry()
local seen = registry["spec.support.header"] or {}
registry["spec.support.header"] = seen

local function declarations(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  text = text:gsub("/%*.-%*/", " ")
  local included = {}
  for name in text:gmatch('#include "([^"]+)"') do
    included[#included + 1] = "src/" .. name
  end
  text = text:gsub("\n#[^\n]*", "\n"):gsub("^#[^\n]*", "")
  text = text:gsub("__attribute__%s*(%b())", "")
  return text, included
end

-- A Lua state knows a structure for good; some stand in the runtime's cdef.lua too.
local function without_known(text)
  return (text:gsub("struct%s+([%w_]+)%s*%b{}%s*;", function(name)
    local found, size = pcall(ffi.sizeof, "struct " .. name)
    return found and size ~= nil and "" or nil
  end))
end

local function define(path)
  if seen[path] then
    return
  end
  seen[path] = true
  local text, included = declarations(path)
  for _, name in ipairs(included) do
    define(name)
  end
  ffi.cdef(without_known(text))
end

-- Defines the headers, with all that they include, and returns the library.
function header.load(...)
  for _, path in ipairs({ ... }) do
    define(path)
  end
  return header.library()
end

function header.library()
  if not header.loaded then
    header.loaded = ffi.load(os.getenv("TIDEMILL_LIB") or "build/release/libtidemill.so")
  end
  return header.loaded
end

-- The bytes of a `struct buf` as a string.
function header.text(buf)
  return ffi.string(buf.data, buf.len)
end

return header
