-- codec.lua: the codecs seen from specs, and msgpack bytes written by hand.
--
-- Input is copied to memory of exactly its size, so that AddressSanitizer sees any read beyond it.
local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/codec/msgpack.h", "src/codec/json.h")
ffi.cdef "void *malloc(size_t); void free(void *);"

local codec = { C = C }

local function with_exact(bytes, call)
  local copy = ffi.C.malloc(#bytes)
  ffi.copy(copy, bytes, #bytes)
  local ok, a, b, c = pcall(call, copy, #bytes)
  ffi.C.free(copy)
  assert(ok, a)
  return a, b, c
end

-- Calls with a copy in memory of exactly its size, and its length.
codec.with_exact = with_exact

-- One token as a Lua table: type (a letter), value, size; ext_type and len where they apply.
local function token_of(t)
  local token = { type = string.char(t.type), size = t.size }
  if token.type == "n" then
    token.value = t.number
  elseif token.type == "i" then
    token.value = tostring(t.i64):gsub("LL$", "")
  elseif token.type == "u" then
    token.value = tostring(t.u64):gsub("ULL$", "")
  elseif token.type == "s" then
    token.value = ffi.string(t.bytes, t.len)
  elseif token.type == "x" then
    token.value, token.ext_type = ffi.string(t.bytes, t.len), t.ext_type
  elseif token.type == "a" or token.type == "m" then
    token.len = t.len
  end
  return token
end

-- A list of tokens, or nil, code, text of the error. `reuse` is a struct tokens to fill (and to keep).
function codec.tokens(bytes, depth, elements, reuse)
  local limits = ffi.new("struct msgpack_limits", depth or 32, elements or 65536)
  local tokens, err = reuse or ffi.new("struct tokens"), ffi.new("struct error")
  return with_exact(bytes, function(copy, len)
    local code = C.msgpack_tokens(copy, len, limits, tokens, err)
    local list = {}
    for i = 0, tokens.count - 1 do
      list[i + 1] = token_of(tokens.list[i])
    end
    if not reuse then
      C.tokens_fini(tokens)
    end
    if code ~= 0 then
      assert(code == tonumber(err.code) and #list == 0)
      return nil, code, ffi.string(err.text)
    end
    return list
  end)
end

local function convert(call, bytes, depth)
  local out, err = ffi.new("struct buf"), ffi.new("struct error")
  C.buf_append(out, "kept", 4)
  local text, code, cause = with_exact(bytes, function(copy, len)
    local failed = call(copy, len, depth or 32, out, err)
    local all = header.text(out)
    assert(all:sub(1, 4) == "kept" and (failed == 0 or all == "kept"))
    if failed ~= 0 then
      return nil, failed, ffi.string(err.text)
    end
    return all:sub(5)
  end)
  C.buf_fini(out)
  return text, code, cause
end

-- JSON text -> msgpack bytes, or nil, code, text of the error.
function codec.from_json(text, depth)
  return convert(C.json_to_msgpack, text, depth)
end

-- msgpack bytes -> JSON text, or nil, code, text of the error.
function codec.to_json(bytes, depth)
  return convert(C.json_from_msgpack, bytes, depth)
end

-- "82 a1 61" -> bytes
function codec.hex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

function codec.to_hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

-- n as `width` bytes, big end first.
function codec.big(n, width)
  local bytes = {}
  for i = width, 1, -1 do
    bytes[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(bytes)
end

-- The shortest header of a string, array or map of `n`.
function codec.head(kind, n)
  local big = codec.big
  if kind == "string" then
    return n < 32 and string.char(0xa0 + n) or n < 256 and "\xd9" .. big(n, 1) or n < 65536 and "\xda" .. big(n, 2)
      or "\xdb" .. big(n, 4)
  end
  local fix, wide = 0x90, 0xdc
  if kind == "map" then
    fix, wide = 0x80, 0xde
  end
  return n < 16 and string.char(fix + n) or n < 65536 and string.char(wide) .. big(n, 2)
    or string.char(wide + 1) .. big(n, 4)
end

-- Specs that draw at random print their seed; TIDEMILL_SEED repeats one.
function codec.seed()
  local seed = tonumber(os.getenv("TIDEMILL_SEED")) or os.time()
  math.randomseed(seed)
  return "seed " .. seed
end

return codec
