-- unpack.lua: msgpack bytes -> tokens, in plain Lua: what codec/msgpack.c is in the engine, for the test kit. Same tokens, same
-- limits, same words for what is wrong (a spec compares the two on millions of bytes).
local ffi = require "tidemill.cdef"

local unpack = {}

local NIL, TRUE, FALSE, NUMBER = ("z"):byte(), ("t"):byte(), ("f"):byte(), ("n"):byte()
local INT64, UINT64, STRING, EXT = ("i"):byte(), ("u"):byte(), ("s"):byte(), ("x"):byte()
local ARRAY, MAP = ("a"):byte(), ("m"):byte()

local EXACT = 9007199254740992 -- 2^53: integers up to here are exact in a double

-- Forms from 0xc0 to 0xdf: bytes of the head behind the first one (a length, for ext then a type), and the word for errors.
local FORMS = {
  { 0, "nil" }, { 0, "0xc1" }, { 0, "false" }, { 0, "true" },
  { 1, "bin8" }, { 2, "bin16" }, { 4, "bin32" }, { 2, "ext8" },
  { 3, "ext16" }, { 5, "ext32" }, { 4, "float32" }, { 8, "float64" },
  { 1, "uint8" }, { 2, "uint16" }, { 4, "uint32" }, { 8, "uint64" },
  { 1, "int8" }, { 2, "int16" }, { 4, "int32" }, { 8, "int64" },
  { 1, "fixext1" }, { 1, "fixext2" }, { 1, "fixext4" }, { 1, "fixext8" },
  { 1, "fixext16" }, { 1, "str8" }, { 2, "str16" }, { 4, "str32" },
  { 2, "array16" }, { 4, "array32" }, { 2, "map16" }, { 4, "map32" },
}

local bits = ffi.new "union { uint8_t byte[8]; uint32_t u32[2]; uint64_t u64; int64_t i64; double number; float single; }"

local Reader = {}
Reader.__index = Reader

---A reader that fills `tokens`, a `struct tokens` that must not outlive it.
function unpack.reader(tokens)
  return setmetatable({ tokens = tokens, cap = 0 }, Reader)
end

-- Copies `width` bytes, big end first, into `bits`.
local function load_big(p, at, width)
  for i = 0, width - 1 do bits.byte[i] = p[at + width - 1 - i] end
end

local function big(p, at, width)
  local n = 0
  for i = at, at + width - 1 do n = n * 256 + p[i] end
  return n
end

local function fail_short(at, what, len, unit, left)
  return nil, ("at byte %d: %s of %d %s%s, %d %s left"):format(at, what, len, unit, len == 1 and "" or "s", left,
    left == 1 and "is" or "are")
end

local function put_number(t, number)
  t.number, t.size, t.type = number, 1, NUMBER
end

local function put_bytes(t, p, at, len)
  t.bytes, t.len, t.size, t.type = ffi.cast("const char *", p + at), len, 1, STRING
end

-- Every nan becomes the plain one: LuaJIT keeps types and pointers in the other bits, and its FFI does not look.
local function put_float64(t)
  local high = bits.u32[1] % 2147483648
  local is_nan = high > 2146435072 or (high == 2146435072 and bits.u32[0] ~= 0)
  put_number(t, is_nan and 0 / 0 or bits.number)
end

local function put_float32(t)
  local word = bits.u32[0] % 2147483648
  put_number(t, word > 2139095040 and 0 / 0 or bits.single)
end

local function put_unsigned(t)
  if bits.u64 <= EXACT then return put_number(t, tonumber(bits.u64)) end
  t.u64, t.size, t.type = bits.u64, 1, bits.u64 > 9223372036854775807ULL and UINT64 or INT64
end

local function put_signed(t)
  if bits.i64 <= EXACT and bits.i64 >= -EXACT then return put_number(t, tonumber(bits.i64)) end
  t.i64, t.size, t.type = bits.i64, 1, INT64
end

local function signed(n, width)
  local limit = 256 ^ width
  return n >= limit / 2 and n - limit or n
end

-- Forms whose value lies in the head: form -> what puts it.
local SCALARS = {
  [0xc0] = function(t) t.u64, t.size, t.type = 0, 1, NIL end,
  [0xc2] = function(t) t.u64, t.size, t.type = 0, 1, FALSE end,
  [0xc3] = function(t) t.u64, t.size, t.type = 0, 1, TRUE end,
  [0xca] = function(t, p, at) load_big(p, at, 4) put_float32(t) end,
  [0xcb] = function(t, p, at) load_big(p, at, 8) put_float64(t) end,
  [0xcf] = function(t, p, at) load_big(p, at, 8) put_unsigned(t) end,
  [0xd3] = function(t, p, at) load_big(p, at, 8) put_signed(t) end,
}
for form = 0xcc, 0xce do
  SCALARS[form] = function(t, p, at) put_number(t, big(p, at, 2 ^ (form - 0xcc))) end
end
for form = 0xd0, 0xd2 do
  local width = 2 ^ (form - 0xd0)
  SCALARS[form] = function(t, p, at) put_number(t, signed(big(p, at, width), width)) end
end

-- Bytes of the length in the head, for forms with content.
local LENGTHS = { [0xd9] = 1, [0xda] = 2, [0xdb] = 4, [0xc4] = 1, [0xc5] = 2, [0xc6] = 4, [0xc7] = 1, [0xc8] = 2, [0xc9] = 4 }

-- The value at `at`, whose first byte is 0xc0 to 0xdb. Returns the place behind it, or nil and what is wrong.
local function read_scalar(t, p, at, stop)
  local first = p[at]
  local head_bytes, word = FORMS[first - 0xbf][1], FORMS[first - 0xbf][2]
  if stop - at - 1 < head_bytes then return fail_short(at, word, head_bytes + 1, "byte", stop - at) end
  local content = at + 1 + head_bytes
  if SCALARS[first] then
    SCALARS[first](t, p, at + 1)
    return content
  end
  local is_ext = (first >= 0xc7 and first <= 0xc9) or (first >= 0xd4 and first <= 0xd8)
  if not is_ext and not LENGTHS[first] then return nil, ("at byte %d: 0xc1 begins no msgpack value"):format(at) end
  local len = LENGTHS[first] and big(p, at + 1, LENGTHS[first]) or 2 ^ (first - 0xd4)
  if stop - content < len then return fail_short(at, is_ext and "ext" or "string", len, "byte", stop - content) end
  put_bytes(t, p, content, len)
  if is_ext then t.type, t.ext_type = EXT, signed(p[content - 1], 1) end
  return content + len
end

-- Room for `count` tokens.
function Reader:reserve(count)
  if count <= self.cap then return end
  local cap = math.max(64, self.cap)
  while cap < count do cap = cap * 2 end
  local list = ffi.new("struct token[?]", cap)
  ffi.copy(list, self.list or list, ffi.sizeof "struct token" * self.cap)
  self.list, self.cap = list, cap
  self.tokens.list, self.tokens.cap = list, cap
end

-- The array or map at `at`: returns the place of its first element, and how many tokens it claims at least.
function Reader:open(scan, p, at, stop, index)
  local first = p[at]
  local is_map = first < 0x90 or first >= 0xde
  local next_at, len = at + 1, first % 16
  if first >= 0xc0 then
    local head_bytes, word = FORMS[first - 0xbf][1], FORMS[first - 0xbf][2]
    if stop - next_at < head_bytes then return fail_short(at, word, head_bytes + 1, "byte", stop - at) end
    len = big(p, next_at, head_bytes)
    next_at = next_at + head_bytes
  end
  local elements = is_map and len * 2 or len
  local claimed = scan.claimed + elements
  if #scan.open == scan.depth then return nil, ("at byte %d: nested deeper than %d"):format(at, scan.depth) end
  if claimed - index - 1 > stop - next_at then
    return fail_short(at, is_map and "map" or "array", len, is_map and "pair" or "element", stop - next_at)
  end
  if claimed > scan.elements then
    return nil, ("at byte %d: more than %d element%s"):format(at, scan.elements, scan.elements == 1 and "" or "s")
  end
  scan.claimed = claimed
  self:reserve(claimed)
  local t = self.list[index]
  t.type, t.len = is_map and MAP or ARRAY, len
  scan.open[#scan.open + 1] = { index = index, missing = scan.missing }
  scan.missing = elements
  return next_at
end

---Reads exactly one value; the tokens are in `tokens` until the next one.
---@param text string
---@param depth number     most nested arrays and maps
---@param elements number  most tokens
---@return true|nil ok, string|nil reason
function Reader:read(text, depth, elements)
  local p, at, stop, count = ffi.cast("const uint8_t *", text), 0, #text, 0
  local scan = { claimed = 1, missing = 1, open = {}, depth = depth, elements = elements }
  self.text, self.tokens.count = text, 0
  if elements == 0 then return nil, "at byte 0: more than 0 elements" end
  self:reserve(1)
  while scan.missing > 0 do
    if at == stop then return nil, ("at byte %d: the bytes end where a value is due"):format(at) end
    local t, first, why = self.list[count], p[at], nil
    local begin = at
    count, scan.missing = count + 1, scan.missing - 1
    if first < 0x80 then
      put_number(t, first)
      at = at + 1
    elseif first >= 0xe0 then
      put_number(t, first - 256)
      at = at + 1
    elseif first >= 0xa0 and first < 0xc0 then
      local len = first - 0xa0
      if stop - at - 1 < len then return fail_short(begin, "string", len, "byte", stop - at - 1) end
      put_bytes(t, p, at + 1, len)
      at = at + 1 + len
    elseif first >= 0xc0 and first <= 0xdb then
      at, why = read_scalar(t, p, at, stop)
    else
      at, why = self:open(scan, p, at, stop, count - 1)
    end
    if not at then return nil, why end
    while scan.missing == 0 and #scan.open > 0 do
      local closed = table.remove(scan.open)
      self.list[closed.index].size = count - closed.index
      scan.missing = closed.missing
    end
  end
  if at ~= stop then
    return nil, ("at byte %d: %d byte%s behind the value"):format(at, stop - at, stop - at == 1 and "" or "s")
  end
  self.tokens.count = count
  return true
end

return unpack
