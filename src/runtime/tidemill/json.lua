-- json.lua: JSON for the test kit, in plain Lua: what codec/json.c and json_write.c are in the engine, with the same meaning.
--
-- Text becomes msgpack bytes first, the very ones that the engine makes of it: so both kits of numbers, duplicate keys, nulls and
-- limits come out alike, and a raw JSON event takes the same way from there on. Integers of 64 bits stay exact, -0 and what is
-- beyond 64 bits are doubles, and what is no valid UTF-8 or half of a surrogate pair is refused.
local ffi = require "tidemill.cdef"
local shape = require "tidemill.shape"
local unpack_reader = require("tidemill.unpack").reader
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

local json = {}

local DEPTH = 200 -- containers inside each other, of who does not say
local ELEMENTS = 16777216
local EXACT = 9007199254740992 -- 2^53: whole numbers up to here are exact in a double

-- ── msgpack ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local cell = ffi.new "union { double number; int64_t bits; }"

-- The eight bytes of the cell, big end first.
local function cell_bytes() return ffi.string(cell, 8):reverse() end

local function big(n, width)
  local bytes = {}
  for at = width, 1, -1 do
    bytes[at] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(bytes)
end

local function pack_double(n)
  cell.number = n
  return "\203" .. cell_bytes()
end

-- A whole number that a double holds exactly.
local function pack_whole(n)
  if n >= 0 then
    if n < 128 then return string.char(n) end
    if n < 256 then return "\204" .. big(n, 1) end
    if n < 65536 then return "\205" .. big(n, 2) end
    if n < 4294967296 then return "\206" .. big(n, 4) end
  else
    if n >= -32 then return string.char(256 + n) end
    if n >= -128 then return "\208" .. big(n + 256, 1) end
    if n >= -32768 then return "\209" .. big(n + 65536, 2) end
    if n >= -2147483648 then return "\210" .. big(n + 4294967296, 4) end
  end
  cell.bits = n
  return (n < 0 and "\211" or "\207") .. cell_bytes()
end

-- The head of an array or a map: `fix` with up to 15 elements, else `wide` or the one behind it.
local function container_head(count, fix, wide)
  if count < 16 then return string.char(fix + count) end
  if count < 65536 then return string.char(wide) .. big(count, 2) end
  return string.char(wide + 1) .. big(count, 4)
end

local function string_head(len)
  if len < 32 then return string.char(0xa0 + len) end
  if len < 256 then return "\217" .. big(len, 1) end
  if len < 65536 then return "\218" .. big(len, 2) end
  return "\219" .. big(len, 4)
end

-- ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Where the character at `at` ends, if it is valid UTF-8 (no overlong ones, no surrogates, nothing beyond U+10FFFF) and not ASCII.
local UTF8 = {
  "^[\194-\223][\128-\191]()", "^\224[\160-\191][\128-\191]()", "^[\225-\236\238\239][\128-\191][\128-\191]()",
  "^\237[\128-\159][\128-\191]()", "^\240[\144-\191][\128-\191][\128-\191]()", "^[\241-\243][\128-\191][\128-\191][\128-\191]()",
  "^\244[\128-\143][\128-\191][\128-\191]()",
}

local function utf8_end(text, at)
  for _, pattern in ipairs(UTF8) do
    local stop = text:match(pattern, at)
    if stop then return stop end
  end
  return nil
end

-- What may stand nowhere in a text; nil: nothing of that kind.
local function odd_byte(text, at)
  local c = text:byte(at)
  if not c then return nil end
  if c == 0 then return "a NUL byte" end
  if c < 0x20 and c ~= 9 and c ~= 10 and c ~= 13 then return "a control character" end
  if c >= 0x80 and not utf8_end(text, at) then return "invalid UTF-8" end
  return nil
end

-- One reading: `at` is where it stands, `out` the parts of the bytes.
local Reader = {}
Reader.__index = Reader

function Reader:fail(at, cause)
  error({ at = at, cause = odd_byte(self.text, at) or cause }, 0)
end

-- The first byte of the next token, as a character.
function Reader:token()
  local at = self.text:match("^[ \t\r\n]*()", self.at)
  self.at = at
  if at > #self.text then self:fail(at, "the text ends too early") end
  return self.text:sub(at, at)
end

function Reader:put(bytes) self.out[#self.out + 1] = bytes end

local function utf8_of(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return string.char(0xe0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(0xf0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64, 0x80 + math.floor(code / 64) % 64,
    0x80 + code % 64)
end

local function is_high(unit) return unit >= 0xd800 and unit <= 0xdbff end
local function is_low(unit) return unit >= 0xdc00 and unit <= 0xdfff end

-- A \uXXXX, or the two of a pair, at `at`.
function Reader:unicode(at)
  local digits = self.text:match("^\\u(%x*)", at):sub(1, 4)
  if #digits < 4 then
    local there = at + 2 + #digits
    self:fail(there, there > #self.text and "the text ends too early"
      or "invalid (non-hex) character occurs after '\\u' inside string")
  end
  local unit = tonumber(digits, 16)
  if is_low(unit) then self:fail(at, "half of a surrogate pair") end
  if not is_high(unit) then return utf8_of(unit), at + 6 end
  local second = tonumber(self.text:match("^\\u(%x%x%x%x)", at + 6) or "0", 16)
  if not is_low(second) then self:fail(at, "half of a surrogate pair") end
  return utf8_of(0x10000 + (unit - 0xd800) * 1024 + second - 0xdc00), at + 12
end

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- What the character at `at` of a string means, when it is none that stands for itself. Returns that and where it ends.
function Reader:special(at)
  local c = self.text:sub(at, at)
  if c == "" then self:fail(at, "the text ends too early") end
  if c ~= "\\" then
    local stop = utf8_end(self.text, at)
    if not stop then self:fail(at, "invalid character inside string") end
    return self.text:sub(at, stop - 1), stop
  end
  local letter = self.text:sub(at + 1, at + 1)
  if letter == "u" then return self:unicode(at) end
  if letter == "" then self:fail(at + 1, "the text ends too early") end
  if not ESCAPES[letter] then self:fail(at + 1, "inside a string, '\\' occurs before a character which it may not") end
  return ESCAPES[letter], at + 2
end

-- The string whose opening quote stands here; goes behind it.
function Reader:string()
  local plain, stop = self.text:match('^"([^%z\1-\31"\\\128-\255]*)"()', self.at)
  if not plain then
    local parts, at = {}, self.at + 1
    while self.text:sub(at, at) ~= '"' do
      local part, behind = self.text:match('^([^%z\1-\31"\\\128-\255]+)()', at)
      if not part then part, behind = self:special(at) end
      parts[#parts + 1], at = part, behind
    end
    plain, stop = table.concat(parts), at + 1
  end
  self.at = stop
  self:put(string_head(#plain))
  self:put(plain)
end

-- Digits with an optional minus, when they fit into 64 bits. -0 does not: only a double keeps its sign.
local function whole_bytes(text)
  if text:find "^%-0+$" then return nil end
  if #text <= 15 then return pack_whole(tonumber(text)) end
  local fits, number = pcall(value.int64, text)
  if not fits then return nil end
  cell.bits = number.value
  return (text:byte() == 45 and "\211" or "\207") .. cell_bytes()
end

function Reader:number()
  local text, start = self.text, self.at
  local at = text:match("^%-?()", start)
  if not text:find("^%d", at) then self:fail(at, "malformed number, a digit is required after the minus sign") end
  at = text:match("^0()", at) or text:match("^%d+()", at)
  local is_whole = true
  if text:find("^%.", at) then
    is_whole = false
    if not text:find("^%d", at + 1) then self:fail(at + 1, "malformed number, a digit is required after the decimal point") end
    at = text:match("^%d+()", at + 1)
  end
  if text:find("^[eE]", at) then
    is_whole = false
    local digits = text:match("^[+-]?()", at + 1)
    if not text:find("^%d", digits) then self:fail(digits, "malformed number, a digit is required after the exponent") end
    at = text:match("^%d+()", digits)
  end
  local written = text:sub(start, at - 1)
  local bytes = is_whole and whole_bytes(written) or nil
  local number = tonumber(written)
  if not bytes and math.abs(number) == math.huge then self:fail(start, "a number beyond the range of a double") end
  self:put(bytes or pack_double(number))
  self.at = at
end

local WORDS = { t = { "true", "\195" }, f = { "false", "\194" }, n = { "null", "\192" } }

function Reader:word(row)
  local word, at = row[1], self.at
  for n = 1, #word do
    if self.text:byte(at + n - 1) ~= word:byte(n) then self:fail(at + n - 1, "invalid string in json text") end
  end
  self.at = at + #word
  self:put(row[2])
end

-- Opens an array or a map. Returns the place of its head among the parts.
function Reader:open()
  if self.depth == self.depth_most then self:fail(self.at, "nested deeper than " .. self.depth_most) end
  self.depth, self.at = self.depth + 1, self.at + 1
  self:put ""
  return #self.out
end

function Reader:close(place, head)
  self.out[place] = head
  self.depth, self.at = self.depth - 1, self.at + 1
end

-- No token begins with this character.
function Reader:fail_lexically(c)
  if c == "/" then self:fail(self.at, "probable comment found in input text, comments are not enabled") end
  self:fail(self.at, "invalid char in json text")
end

-- Another token than is due here.
function Reader:fail_at_token(c, cause)
  if not c:find '[%[%]{},:"tfn%d-]' then self:fail_lexically(c) end
  self:fail(self.at, cause)
end

function Reader:array()
  local place, count = self:open(), 0
  if self:token() ~= "]" then
    while true do
      self:value()
      count = count + 1
      local c = self:token()
      if c == "]" then break end
      if c ~= "," then self:fail_at_token(c, "after array element, I expect ',' or ']'") end
      self.at = self.at + 1
    end
  end
  self:close(place, container_head(count, 0x90, 0xdc))
end

function Reader:pair()
  local c = self:token()
  if c ~= '"' then self:fail_at_token(c, "invalid object key (must be a string)") end
  self:string()
  c = self:token()
  if c ~= ":" then self:fail_at_token(c, "object key and value must be separated by a colon (':')") end
  self.at = self.at + 1
  self:value()
end

function Reader:map()
  local place, count = self:open(), 0
  if self:token() ~= "}" then
    while true do
      self:pair()
      count = count + 1
      local c = self:token()
      if c == "}" then break end
      if c ~= "," then self:fail_at_token(c, "after key and value, inside map, I expect ',' or '}'") end
      self.at = self.at + 1
    end
  end
  self:close(place, container_head(count, 0x80, 0xde))
end

function Reader:value()
  local c = self:token()
  if c == "{" then return self:map() end
  if c == "[" then return self:array() end
  if c == '"' then return self:string() end
  if c:find "[%d-]" then return self:number() end
  if WORDS[c] then return self:word(WORDS[c]) end
  self:fail_at_token(c, "unallowed token at this point in JSON text")
end

---Reads one JSON value into msgpack bytes.
---@param text string
---@param depth? number  most containers inside each other; default 200
---@return string|nil bytes, string|nil cause, number|nil at  "at byte 5: …", and the place counted from 1
function json.to_msgpack(text, depth)
  local reader = setmetatable({ text = text, at = 1, out = {}, depth = 0, depth_most = depth or DEPTH }, Reader)
  local ok, why = pcall(function()
    reader:value()
    local at = text:match("^[ \t\r\n]*()", reader.at)
    if at <= #text then reader:fail(at, "trailing garbage") end
  end)
  if ok then return table.concat(reader.out) end
  if type(why) ~= "table" then error(why, 0) end
  return nil, ("at byte %d: %s"):format(why.at - 1, why.cause), why.at
end

-- As shape.build, but a null in a map is tidemill.null and not absent.
local function build_with_nulls(tokens, at)
  local t, kind = tokens[at], tokens[at].type
  if kind == shape.TYPES.NIL then return value.null, at + 1 end
  if kind ~= shape.TYPES.ARRAY and kind ~= shape.TYPES.MAP then return shape.build(tokens, at) end
  local result, count = {}, t.len
  at = at + 1
  for n = 1, count do
    local k = n
    if kind == shape.TYPES.MAP then k, at = shape.build(tokens, at) end
    result[k], at = build_with_nulls(tokens, at)
  end
  return kind == shape.TYPES.ARRAY and value.array(result) or result, at
end

---Reads one JSON value, as a rule would see it in an event: whole numbers beyond 2^53 are tidemill.int64, null is tidemill.null in
---arrays and absent in objects, arrays stay arrays, of two members of one name the later counts.
---@param text string
---@param options? { depth: number?, nulls: boolean? }  `nulls`: null in objects is tidemill.null, too
---@return any value, string|nil cause, number|nil at  on error nil, the cause, and the place counted from 1
function json.decode(text, options)
  options = options or {}
  local bytes, cause, at = json.to_msgpack(text, options.depth)
  if not bytes then return nil, cause, at end
  local tokens = ffi.new "struct tokens"
  assert(unpack_reader(tokens):read(bytes, options.depth or DEPTH, ELEMENTS))
  return ((options.nulls and build_with_nulls or shape.build)(tokens.list, 0))
end

-- ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local SHORT = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(c) return SHORT[c] or ("\\u%04x"):format(c:byte()) end

-- Bytes that are no UTF-8 become U+FFFD, one each.
local function valid_text(text)
  if not text:find "[\128-\255]" then return text end
  local parts, at = {}, 1
  while at <= #text do
    local plain, stop = text:match("^([%z\1-\127]+)()", at)
    stop = stop or utf8_end(text, at)
    parts[#parts + 1] = plain or (stop and text:sub(at, stop - 1)) or "\239\191\189"
    at = stop or at + 1
  end
  return table.concat(parts)
end

local function string_text(text) return '"' .. valid_text(text):gsub('[%z\1-\31"\\]', escape) .. '"' end

-- The shortest of 15, 16 or 17 digits that reads back equal; what would come back as an integer of 64 bits gets a ".0".
local function number_text(n)
  if n ~= n or math.abs(n) == math.huge then return "null" end
  if n == math.floor(n) and math.abs(n) <= EXACT then
    return (n == 0 and 1 / n < 0) and "-0" or ("%.0f"):format(n)
  end
  local text
  for digits = 15, 17 do
    text = ("%." .. digits .. "g"):format(n)
    if tonumber(text) == n then break end
  end
  return text:find "[.e]" and text or text .. ".0"
end

local write

local function is_array(t)
  local count, most = 0, #t
  if getmetatable(t) ~= "array" and most == 0 then return false end
  for k in pairs(t) do
    if type(k) ~= "number" or k < 1 or k > most or k ~= math.floor(k) then return false end
    count = count + 1
  end
  return count == most or getmetatable(t) == "array"
end

local function key_text(k)
  if type(k) == "string" then return string_text(k) end
  if type(k) == "number" or type(k) == "boolean" or value.is_int64(k) then return '"' .. write(k) .. '"' end
  error({ cause = "it has a " .. type(k) .. " as a key" }, 0)
end

local function map_text(t, depth)
  local members, keys = {}, {}
  for k in pairs(t) do
    local text = key_text(k)
    keys[#keys + 1], members[text] = text, text .. ":" .. write(t[k], depth + 1)
  end
  table.sort(keys)
  for n, text in ipairs(keys) do keys[n] = members[text] end
  return "{" .. table.concat(keys, ",") .. "}"
end

local function table_text(t, depth)
  if depth >= DEPTH then error({ cause = ("it is nested deeper than %d (or holds itself)"):format(DEPTH) }, 0) end
  if getmetatable(t) == "ext" then
    local hex = t.bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
    return ('{"ext":%d,"data":"%s"}'):format(t.type, hex)
  end
  if not is_array(t) then return map_text(t, depth) end
  local parts = {}
  for n = 1, #t do parts[n] = write(t[n], depth + 1) end
  return "[" .. table.concat(parts, ",") .. "]"
end

write = function(v, depth)
  local kind = type(v)
  if kind == "string" then return string_text(v) end
  if kind == "number" then return number_text(v) end
  if kind == "table" then return table_text(v, depth or 0) end
  if kind == "boolean" then return tostring(v) end
  if kind == "nil" or value.is_null(v) then return "null" end
  if value.is_int64(v) then return tostring(v) end
  error({ cause = "it holds a " .. kind }, 0)
end

---Writes a value as JSON, in one line; members stand in the order of their names.
---@return string|nil text, string|nil reason
function json.encode(v)
  local ok, text = pcall(write, v)
  if ok then return text end
  if type(text) ~= "table" then error(text, 0) end
  return nil, text.cause
end

return json
