-- pack.lua: Lua values -> msgpack bytes, written straight into one fixed buffer.
--
-- Why Lua and not the C packer: a table can be walked by compiled code here, and cannot from C (lua_next is an
-- interpreter call a field). The first eight pairs of a table are unrolled, because a loop in the middle of a trace
-- would end it; measured, an event of six fields costs 60 ns this way and 110 with the loop.
local ffi = require "tidemill.cdef"
local value = require "tidemill.value"

local pack = {}

ffi.cdef [[
void *malloc(size_t);
void free(void *);
void *memmove(void *, const void *, size_t);
uint32_t pack_number(uint8_t *, double);
uint32_t pack_string(uint8_t *, const char *, uint32_t);
]]
-- In the engine the two leaves are C (rules/pack.c says why); the test kit has none and does the same in Lua.
local native = pcall(function() return ffi.C.pack_number end)

local copy, cast = ffi.copy, ffi.cast
local floor, type, next, getmetatable, rawget = math.floor, type, next, getmetatable, rawget
local bswap = require("bit").bswap
local U8 = ffi.typeof "uint8_t *"
local U64 = ffi.typeof "uint64_t *"
local as_double = ffi.new "union { double number; uint64_t bits; }"

-- One buffer for all packing of a VM. What does not fit is over every limit that can be set for it.
local ROOM = 16 * 1024 * 1024 + 4096
-- From malloc, not ffi.new: pages that nobody writes to cost nothing.
local memory = ffi.gc(ffi.C.malloc(ROOM), ffi.C.free)
local base = cast(U8, memory)
local DEPTH = 32

local fault -- why the value being packed cannot be; nil while all is well
local put_value, put_table

local put_string, put_number

local function put_string_in_lua(at, s)
  local len = #s
  if len < 32 then
    base[at] = 0xa0 + len
    at = at + 1
  elseif len < 256 then
    base[at] = 0xd9
    base[at + 1] = len
    at = at + 2
  elseif len < 65536 then
    base[at] = 0xda
    base[at + 1] = floor(len / 256)
    base[at + 2] = len % 256
    at = at + 3
  else
    base[at] = 0xdb
    base[at + 1] = floor(len / 16777216)
    base[at + 2] = floor(len / 65536) % 256
    base[at + 3] = floor(len / 256) % 256
    base[at + 4] = len % 256
    at = at + 5
  end
  if at + len > ROOM - 4096 then
    fault = fault or "it is too large"
    return 0
  end
  copy(base + at, s, len)
  return at + len
end

local function put_u32(at, v)
  base[at] = floor(v / 16777216)
  base[at + 1] = floor(v / 65536) % 256
  base[at + 2] = floor(v / 256) % 256
  base[at + 3] = v % 256
  return at + 4
end

local function put_number_in_lua(at, v)
  if v == floor(v) and v >= -32 and v < 4294967296 then
    if v < 0 then
      base[at] = 256 + v
      return at + 1
    elseif v < 128 then
      base[at] = v
      return at + 1
    elseif v < 256 then
      base[at] = 0xcc
      base[at + 1] = v
      return at + 2
    elseif v < 65536 then
      base[at] = 0xcd
      base[at + 1] = floor(v / 256)
      base[at + 2] = v % 256
      return at + 3
    end
    base[at] = 0xce
    return put_u32(at + 1, v)
  elseif v == floor(v) and v >= -9007199254740992 and v <= 9007199254740992 then
    base[at] = v < 0 and 0xd3 or 0xcf
    local high = floor(v / 4294967296)
    put_u32(at + 1, high % 4294967296)
    return put_u32(at + 5, v - high * 4294967296)
  end
  as_double.number = v
  base[at] = 0xcb
  cast(U64, base + at + 1)[0] = bswap(as_double.bits)
  return at + 9
end

if native then
  local pack_number, pack_string = ffi.C.pack_number, ffi.C.pack_string
  put_number = function(at, v) return at + pack_number(base + at, v) end
  put_string = function(at, s)
    if at + #s > ROOM - 4096 then
      fault = fault or "it is too large"
      return 0
    end
    return at + pack_string(base + at, s, #s)
  end
else
  put_number, put_string = put_number_in_lua, put_string_in_lua
end

local function put_head(at, count, fix, fix_limit, head16)
  if count < fix_limit then
    base[at] = fix + count
    return at + 1
  elseif count < 65536 then
    base[at] = head16
    base[at + 1] = floor(count / 256)
    base[at + 2] = count % 256
    return at + 3
  end
  base[at] = head16 + 1
  return put_u32(at + 1, count)
end

local function put_cdata(at, v)
  if value.is_int64(v) then
    base[at] = v.is_unsigned and 0xcf or 0xd3
    as_double.bits = cast("uint64_t", v.value)
    cast(U64, base + at + 1)[0] = bswap(as_double.bits)
    return at + 9
  elseif value.is_null(v) then
    base[at] = 0xc0
    return at + 1
  end
  fault = fault or "it holds a foreign object"
  return at
end

local FIXEXT = { [1] = 0xd4, [2] = 0xd5, [4] = 0xd6, [8] = 0xd7, [16] = 0xd8 }

local function put_ext(at, v)
  local bytes, kind = rawget(v, "bytes"), rawget(v, "type") -- a rule may forge an ext, and run code in __index
  if type(bytes) ~= "string" or type(kind) ~= "number" or kind < -128 or kind > 127 then
    fault = fault or "it holds an ext without type and bytes"
    return at
  end
  local len = #bytes
  if at + len > ROOM - 4096 then
    fault = fault or "it is too large"
    return 0
  end
  if FIXEXT[len] then
    base[at] = FIXEXT[len]
    at = at + 1
  elseif len < 256 then
    base[at] = 0xc7
    base[at + 1] = len
    at = at + 2
  elseif len < 65536 then
    base[at] = 0xc8
    base[at + 1] = floor(len / 256)
    base[at + 2] = len % 256
    at = at + 3
  else
    base[at] = 0xc9
    at = put_u32(at + 1, len)
  end
  base[at] = kind % 256
  copy(base + at + 1, bytes, len)
  return at + 1 + len
end

local function put_array(at, t, count, depth)
  at = put_head(at, count, 0x90, 16, 0xdc)
  for i = 1, count do
    at = put_value(at, rawget(t, i), depth)
    if fault then return 0 end
  end
  return at
end

local function put_key(at, k)
  if at > ROOM - 4096 then
    fault = fault or "it is too large"
    return 0
  end
  if type(k) == "string" then return (put_string(at, k)) end
  if type(k) == "number" then return (put_number(at, k)) end
  if type(k) == "boolean" then
    base[at] = k and 0xc3 or 0xc2
    return at + 1
  end
  fault = fault or ("it has a " .. type(k) .. " as a key")
  return at
end

-- A table of more than 15 pairs turned up at its 16th: makes room for the longer head behind what is packed already. (Not
-- by packing again: nested tables would cost twice as much a level.)
local function widen_map(head, at, t)
  local count, k = 0, next(t)
  while k ~= nil do -- not `for … in next`, see each.lua
    count, k = count + 1, next(t, k)
  end
  local more = count < 65536 and 2 or 4
  ffi.C.memmove(base + head + 1 + more, base + head + 1, at - head - 1)
  put_head(head, count, 0x80, 16, 0xde)
  return at + more
end

-- How many of the keys 1 … `last` a table has; nil when it has any other.
local function count_elements(t, last)
  local count, k = 0, next(t)
  while k ~= nil do
    if type(k) ~= "number" or k < 1 or k > last or k ~= floor(k) then return nil end
    count, k = count + 1, next(t, k)
  end
  return count
end

-- The first pair is known. Small maps, the common case: head byte last.
local function put_map(at, t, k, v, depth)
  local head, count = at, 1
  at = put_value(put_key(at + 1, k), v, depth)
  k, v = next(t, k)
  if k ~= nil then
    at = put_value(put_key(at, k), v, depth)
    count, k, v = 2, next(t, k)
    if k ~= nil then
      at = put_value(put_key(at, k), v, depth)
      count, k, v = 3, next(t, k)
      if k ~= nil then
        at = put_value(put_key(at, k), v, depth)
        count, k, v = 4, next(t, k)
        if k ~= nil then
          at = put_value(put_key(at, k), v, depth)
          count, k, v = 5, next(t, k)
          if k ~= nil then
            at = put_value(put_key(at, k), v, depth)
            count, k, v = 6, next(t, k)
            if k ~= nil then
              at = put_value(put_key(at, k), v, depth)
              count, k, v = 7, next(t, k)
              if k ~= nil then
                at = put_value(put_key(at, k), v, depth)
                count, k, v = 8, next(t, k)
              end
            end
          end
        end
      end
    end
  end
  while k ~= nil do
    if count == 15 then at = widen_map(head, at, t) end
    at = put_value(put_key(at, k), v, depth)
    if fault then return 0 end
    count = count + 1
    k, v = next(t, k)
  end
  if count < 16 then base[head] = 0x80 + count end
  return at
end

put_table = function(at, t, depth)
  -- A fault ends it at once: a table that holds itself twice would else be walked 2^DEPTH times.
  if depth >= DEPTH or at > ROOM - 4096 or fault then
    fault = fault or (depth >= DEPTH and "it is nested deeper than " .. DEPTH .. " (or holds itself)" or "it is too large")
    return 0
  end
  local kind = getmetatable(t)
  if kind ~= nil then
    if kind == "array" then
      -- With fields of other names it is a map, or they would be lost.
      if count_elements(t, #t) then return (put_array(at, t, #t, depth + 1)) end
    elseif kind == "ext" then
      return (put_ext(at, t))
    end
  end
  local k, v = next(t)
  if k == nil then
    base[at] = 0x80
    return at + 1
  end
  if type(k) == "number" and count_elements(t, #t) == #t then return (put_array(at, t, #t, depth + 1)) end
  return (put_map(at, t, k, v, depth + 1))
end

put_value = function(at, v, depth)
  local kind = type(v)
  if kind == "string" then return (put_string(at, v)) end
  if kind == "number" then
    if at > ROOM - 4096 then
      fault = fault or "it is too large"
      return 0
    end
    return (put_number(at, v))
  end
  if kind == "table" then return (put_table(at, v, depth)) end
  if at > ROOM - 4096 then
    fault = fault or "it is too large"
    return 0
  end
  if kind == "boolean" then
    base[at] = v and 0xc3 or 0xc2
    return at + 1
  end
  if kind == "cdata" then return (put_cdata(at, v)) end
  if kind == "nil" then
    base[at] = 0xc0
    return at + 1
  end
  fault = fault or ("it holds a " .. kind)
  return at
end

---The buffer; what `value` and `state` write begins at its first byte.
function pack.bytes() return base end

---For documents that are put together by hand, in the same buffer: each writes at a place and returns that behind it. There is
---room for what is bounded elsewhere, up to 16 MiB.
pack.put_string, pack.put_number, pack.put_head = put_string, put_number, put_head

pack.memory = memory -- keeps the collector from freeing it

---Packs one table.
---@return number|nil len, string|nil reason
function pack.table(t)
  fault = nil
  local len = put_table(0, t, 0)
  if fault ~= nil then return nil, fault end
  return len
end

---Packs any value.
---@return number|nil len, string|nil reason
function pack.value(v)
  fault = nil
  local len = put_value(0, v, 0)
  if fault ~= nil then return nil, fault end
  return len
end

-- How many bytes `[expiry, version, ` takes with the fixed forms used here.
pack.STATE_HEAD = 1 + 9 + 5

---Packs `[expiry ms or 0, version, state]`.
---@return number|nil len, string|nil reason
function pack.state(expiry_ms, version, t)
  fault = nil
  base[0] = 0x93
  base[1] = 0xcf
  local high = floor(expiry_ms / 4294967296)
  put_u32(2, high)
  put_u32(6, expiry_ms - high * 4294967296)
  base[10] = 0xce
  put_u32(11, version)
  local len = put_table(15, t, 0)
  if fault ~= nil then return nil, fault end
  return len
end

---The msgpack bytes of a value as a Lua string; for what is not hot.
---@return string|nil bytes, string|nil reason
function pack.string(v)
  local len, reason = pack.value(v)
  if not len then return nil, reason end
  return ffi.string(base, len)
end

return pack
