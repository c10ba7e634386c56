-- header.lua: the engine's C, seen from specs: reads our own headers instead of repeating them, and
-- loads the library.
--
--   local header = require "spec.support.header"
--   local C = header.load("src/base/log.h", "src/base/buf.h")
--
-- The library is TIDEMILL_LIB, or build/release/libtidemill.so.
local ffi = require "ffi"

local header = {}
local seen = {}

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

local function define(path)
  if seen[path] then
    return
  end
  seen[path] = true
  local text, included = declarations(path)
  for _, name in ipairs(included) do
    define(name)
  end
  ffi.cdef(text)
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
