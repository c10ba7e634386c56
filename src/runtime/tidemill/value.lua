-- value.lua: the values of an event that plain Lua has no word for: exact 64-bit integers, null, arrays, msgpack ext.
--
-- All of them are safe to hand to a rule: the cdata are immutable, and the metatables are out of reach (`__metatable`).
local ffi = require "tidemill.cdef"

-- C types are made once a Lua state, and so is what belongs to them: busted forgets modules from spec file to spec file.
local registry = debug.getregistry()
if registry["tidemill.value types"] then return registry["tidemill.value types"] end

local value = {}
registry["tidemill.value types"] = value

local int64_type = ffi.typeof "tidemill_int64"
local null_type = ffi.typeof "tidemill_null"
local INT64, UINT64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"

---True for a `tidemill.int64`.
---@param v any
---@return boolean
function value.is_int64(v)
  return type(v) == "cdata" and ffi.istype(int64_type, v)
end
local is_int64 = value.is_int64

local function decimal(v)
  local text = tostring(v.is_unsigned and UINT64(v.value) or v.value)
  return (text:gsub("U?LL$", ""))
end

-- Orders two of: int64, integer-valued or other number. Returns -1, 0, 1, or nil where they cannot be compared.
local function compare(a, b)
  if is_int64(a) and is_int64(b) then
    if a.is_unsigned ~= b.is_unsigned then return a.is_unsigned and 1 or -1 end -- unsigned ones are all above 2^63 - 1
    return a.value == b.value and 0 or (a.value < b.value and -1 or 1)
  end
  if is_int64(b) then
    local order = compare(b, a)
    return order and -order
  end
  if type(b) ~= "number" or b ~= b then return nil end
  local limit = a.is_unsigned and 18446744073709551616 or 9223372036854775808
  if b >= limit then return -1 end
  if a.is_unsigned then
    if b < 9223372036854775808 then return 1 end
    local whole = UINT64(b)
    local mine = UINT64(a.value)
    return mine == whole and 0 or (mine < whole and -1 or 1)
  end
  if b < -limit then return 1 end
  local whole = INT64(math.floor(b))
  if a.value ~= whole then return a.value < whole and -1 or 1 end
  return b == math.floor(b) and 0 or -1
end

ffi.metatype(int64_type, {
  __tostring = decimal,
  __concat = function(a, b) return tostring(a) .. tostring(b) end,
  __eq = function(a, b) -- also called for nil and false
    if is_int64(a) then return compare(a, b) == 0 end
    return compare(b, a) == 0
  end,
  __lt = function(a, b)
    local order = (is_int64(a) or is_int64(b)) and compare(a, b)
    if not order then error("attempt to compare an int64 with a " .. type(is_int64(a) and b or a), 2) end
    return order < 0
  end,
  __le = function(a, b)
    local order = (is_int64(a) or is_int64(b)) and compare(a, b)
    if not order then error("attempt to compare an int64 with a " .. type(is_int64(a) and b or a), 2) end
    return order <= 0
  end,
})

---An integer that a Lua number cannot hold exactly.
---@param v string|number plain decimal, between -2^63 and 2^64 - 1
---@return tidemill.int64
function value.int64(v)
  if is_int64(v) then return v end
  if type(v) == "number" then
    if v ~= math.floor(v) or v < -9223372036854775808 or v >= 18446744073709551616 then
      error("int64: " .. tostring(v) .. " is not a whole number of 64 bits", 2)
    end
    return v >= 9223372036854775808 and int64_type(INT64(UINT64(v)), true) or int64_type(INT64(v), false)
  end
  local sign, digits
  if type(v) == "string" then sign, digits = v:match "^(%-?)0*(%d+)$" end -- only of a text: what __tostring gives need not be one
  local largest = sign == "-" and "9223372036854775808" or "18446744073709551615"
  if not digits or #digits > #largest or (#digits == #largest and digits > largest) then
    error("int64: '" .. tostring(v) .. "' is not a decimal integer of 64 bits", 2)
  end
  local sum = UINT64(0)
  for i = 1, #digits do sum = sum * 10 + (digits:byte(i) - 48) end
  if sign == "-" then return int64_type(INT64(0) - INT64(sum), false) end
  return int64_type(INT64(sum), sum > 9223372036854775807ULL)
end

function value.from_i64(v) return int64_type(v, false) end
function value.from_u64(v) return int64_type(INT64(v), true) end

ffi.metatype(null_type, {
  __tostring = function() return "null" end,
  __eq = function(a, b)
    return type(a) == "cdata" and type(b) == "cdata" and ffi.istype(null_type, a) and ffi.istype(null_type, b)
  end,
})

---What `nil` inside an array is: `tidemill.null`.
value.null = null_type(true)

---True for `tidemill.null`.
---@param v any
---@return boolean
function value.is_null(v)
  return type(v) == "cdata" and ffi.istype(null_type, v)
end

-- Seen through getmetatable these are the words "array" and "ext", and nothing can be changed.
local array_metatable = { __metatable = "array" }
local ext_metatable = { __metatable = "ext" }

---Marks a table as an array, so that it is one again when it is encoded, also when it is empty.
---@generic T
---@param list T[]|nil
---@return T[]
function value.array(list)
  if list == nil then list = {} end
  if getmetatable(list) == "array" then return list end
  return setmetatable(list, array_metatable)
end

---A msgpack ext value (timestamps are type -1): type and bytes stay as they are.
---@param kind integer -128..127
---@param bytes string
---@return table ext  with the fields `type` and `bytes`
function value.ext(kind, bytes)
  return setmetatable({ type = kind, bytes = bytes }, ext_metatable)
end

---The text of a rule's key: strings as they are, numbers in decimal, nil for what cannot be a key.
---@param v any
---@return string|nil
function value.key_text(v)
  if type(v) == "string" then return v end
  if type(v) == "number" then
    if v == math.floor(v) and v > -1e15 and v < 1e15 then return ("%d"):format(v) end
    if v ~= v or v == math.huge or v == -math.huge then return nil end
    if v == math.floor(v) and v > -1e21 and v < 1e21 then return ("%.0f"):format(v) end
    for precision = 15, 17 do
      local text = ("%." .. precision .. "g"):format(v)
      if tonumber(text) == v then return text end
    end
  end
  if is_int64(v) then return decimal(v) end
  return nil
end

return value
