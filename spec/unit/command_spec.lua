local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/redis/command.h")

-- The bytes that `fill(buf)` appends.
local function bytes_of(fill)
  local buf = ffi.new("struct buf")
  fill(buf)
  local text = header.text(buf)
  C.buf_fini(buf)
  return text
end

describe("a command", function()
  it("is an array of strings", function()
    assert.equal("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n", bytes_of(function(buf)
      C.command_append(buf, "SET", "k", "value", nil)
    end))
  end)

  it("takes any bytes, by length", function()
    local values = { "SET", "a\0b", "", "\r\n" }
    local argv, lens = ffi.new("const char *[4]"), ffi.new("size_t[4]")
    for i, value in ipairs(values) do
      argv[i - 1], lens[i - 1] = value, #value
    end
    assert.equal("*4\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$0\r\n\r\n$2\r\n\r\n\r\n", bytes_of(function(buf)
      C.command_append_argv(buf, 4, argv, lens)
    end))
  end)

  it("takes C strings when no lengths are given", function()
    local argv = ffi.new("const char *[2]", { "GET", "key" })
    assert.equal("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", bytes_of(function(buf)
      C.command_append_argv(buf, 2, argv, nil)
    end))
  end)

  it("is written piece by piece, numbers too", function()
    local numbers = { [0] = "0", [7] = "7", [-1] = "-1", [1234567890123] = "1234567890123" }
    for number, text in pairs(numbers) do
      assert.equal(("*2\r\n$1\r\nX\r\n$%d\r\n%s\r\n"):format(#text, text), bytes_of(function(buf)
        C.command_begin(buf, 2)
        C.command_argument_text(buf, "X")
        C.command_argument_number(buf, number)
      end))
    end
  end)

  it("writes the largest and smallest numbers whole", function()
    assert.equal("$19\r\n9223372036854775807\r\n", bytes_of(function(buf)
      C.command_argument_number(buf, 9223372036854775807LL)
    end))
    assert.equal("$20\r\n-9223372036854775808\r\n", bytes_of(function(buf)
      C.command_argument_number(buf, -9223372036854775807LL - 1)
    end))
  end)

  it("keeps what is in the buffer, and large arguments whole", function()
    local big = ("x"):rep(300000)
    local text = bytes_of(function(buf)
      C.buf_append_text(buf, "before")
      C.command_begin(buf, 100000)
      C.command_argument(buf, big, #big)
    end)
    assert.equal("before*100000\r\n$300000\r\n" .. big .. "\r\n", text)
  end)
end)

describe("an entry", function()
  it("is added with its fields, trimmed or not", function()
    local function entry(maxlen)
      return bytes_of(function(buf)
        C.command_begin_entry(buf, "s", maxlen, 2)
        C.command_field_text(buf, "a", "b")
        C.command_field_number(buf, "n", -7)
      end)
    end
    assert.equal("*7\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nn\r\n$2\r\n-7\r\n", entry(0))
    assert.matches("^%*10\r\n$4\r\nXADD\r\n$1\r\ns\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$4\r\n1000\r\n$1\r\n%*\r\n", entry(1000))
  end)
end)

describe("a command's words", function()
  -- The command, and its length; the text must be kept as long as it is looked at.
  local function command(...)
    local words = { ... }
    return bytes_of(function(buf)
      C.command_begin(buf, #words)
      for _, word in ipairs(words) do C.command_argument(buf, word, #word) end
    end)
  end

  it("are read back, whatever bytes they hold", function()
    local text = command("SET", "a\0b", "", "$3\r\nxyz\r\n")
    local at = ffi.new("const char *[1]", { text })
    local read = {}
    for n = 1, tonumber(C.command_count(at)) do
      local word = C.command_next(at)
      read[n] = ffi.string(word.bytes, word.len)
    end
    assert.same({ "SET", "a\0b", "", "$3\r\nxyz\r\n" }, read)
    assert.equal(#text, tonumber(at[0] - ffi.cast("const char *", text)))
  end)

  it("tell an emit from other commands", function()
    local stream, payload = ffi.new("struct command_word[1]"), ffi.new("struct command_word[1]")
    local function emit(...)
      local text = command(...)
      if not C.command_is_emit(text, #text, stream, payload) then return nil end
      return ffi.string(stream[0].bytes, stream[0].len), ffi.string(payload[0].bytes, payload[0].len)
    end
    assert.same({ "out", "\128" }, { emit("XADD", "out", "*", "data", "\128") })
    assert.same({ "*", "" }, { emit("XADD", "*", "MAXLEN", "~", "5", "*", "data", "") })
    assert.is_nil(emit("XADD", "out", "*", "other", "x"))
    assert.is_nil(emit("XADD", "out", "1-1", "data", "x"))
    assert.is_nil(emit("XADD", "out", "*", "data", "x", "more", "y"))
    assert.is_nil(emit("HSET", "out", "*", "data", "x"))
    assert.is_nil(emit("PING"))
    assert.is_nil(emit("SET", "data", "x"))
  end)
end)
