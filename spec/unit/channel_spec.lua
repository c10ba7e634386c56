-- Messages between two ends in one process: whole, in order, also when the pipe is full.
local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/worker/channel.h", "src/base/loop.h")

describe("a channel", function()
  local loop, ends, here, there, came, keep

  local function open(fd)
    local log = { gone = 0 }
    local callbacks = ffi.new "struct channel_callbacks"
    callbacks.on_message = function(_, type, body, len)
      log[#log + 1] = { type = type, body = ffi.string(body, len) }
      if log.on_message then log.on_message() end
    end
    callbacks.on_gone = function() log.gone = log.gone + 1 end
    keep[#keep + 1] = callbacks
    return C.channel_open(loop, fd, callbacks, nil), log
  end

  before_each(function()
    keep, loop = {}, C.loop_create()
    ends = ffi.new "int[2]"
    assert.equal(0, C.channel_pair(ends, nil))
    here = open(ends[0])
    there, came = open(ends[1])
  end)

  after_each(function()
    if here ~= nil then C.channel_close(here) end
    if there ~= nil then C.channel_close(there) end
    C.loop_destroy(loop)
    for _, callbacks in ipairs(keep) do
      callbacks.on_message:free()
      callbacks.on_gone:free()
    end
  end)

  it("hands over types and bodies, whole and in order", function()
    C.channel_send(here, 3, "one", 3)
    C.channel_send(here, 4, nil, 0)
    C.channel_send_parts(here, 5, "two", 3, "\0three", 6)
    C.channel_read(there)
    assert.same({ { type = 3, body = "one" }, { type = 4, body = "" },
      { type = 5, body = "two\0three" }, gone = 0 }, came)
  end)

  it("keeps what does not fit into the pipe until there is room", function()
    local large = ("x"):rep(3000000)
    C.channel_send(here, 1, large, #large)
    C.channel_send(here, 2, "small", 5)
    came.on_message = function()
      if #came == 2 then C.loop_stop(loop) end
    end
    C.loop_run(loop)
    assert.equal(#large, #came[1].body)
    assert.is_true(came[1].body == large)
    assert.equal("small", came[2].body)
  end)

  it("tells the end of the other once, after what was said before", function()
    C.channel_send(here, 1, "last words", 10)
    C.channel_close(here)
    here = nil
    C.channel_read(there)
    C.channel_read(there)
    assert.same({ { type = 1, body = "last words" }, gone = 1 }, came)
    C.channel_send(there, 1, "nobody", 6)
  end)

  it("may be closed by who gets a message", function()
    C.channel_send(here, 1, "a", 1)
    C.channel_send(here, 1, "b", 1)
    came.on_message = function()
      C.channel_close(there)
      there = nil
    end
    C.channel_read(there)
    assert.equal(1, #came)
  end)
end)
