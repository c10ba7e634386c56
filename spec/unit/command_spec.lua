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
