-- A conversation over a real link: steps, one after the other, from inside the callback of the one before.
local ffi = require "ffi"
local header = require "spec.support.header"
local link = require "spec.support.link"
local redis = require "spec.support.redis"
local C = header.load("src/stream/talk.h", "src/redis/command.h", "src/redis/link.h")

describe("a talk", function()
  local server, driver, talk, heard, on_done, next_step

  setup(function() server = redis.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    heard, next_step = {}, nil
    driver = link.driver(server:url())
    driver:open()
    driver:turn_until_up()
    talk = C.talk_create()
    on_done = ffi.cast("talk_done_call *", function(_, replies, count)
      local values = {}
      for i = 1, tonumber(count) do
        local value, err = redis.to_lua(replies[i - 1])
        values[i] = value or err or false
      end
      heard[#heard + 1] = values
      if next_step then next_step(replies) end
    end)
  end)

  after_each(function()
    C.talk_destroy(talk)
    driver:close()
    on_done:free()
  end)

  local function step(commands)
    local out = C.talk_begin(talk, driver.handle)
    assert.is_true(out == C.link_out(driver.handle))
    for _, words in ipairs(commands) do
      local argv, lens, keep = redis.arguments(words, #words)
      C.command_append_argv(out, #words, argv, lens)
      C.talk_expect(talk, table.concat(words, " "))
      assert(#keep == #words)
    end
    C.talk_send(talk, on_done, nil)
  end

  local function turn_until_heard(count)
    driver:turn_until(function() return #heard >= count end, 5, count .. " steps")
  end

  it("calls once, when all replies are there, in order", function()
    assert.is_false(C.talk_is_open(talk))
    step { { "SET", "k", "v" }, { "GET", "k" }, { "GET", "none" }, { "NOSUCH" }, { "LRANGE", "list", "0", "-1" } }
    assert.is_true(C.talk_is_open(talk))
    turn_until_heard(1)
    assert.is_false(C.talk_is_open(talk))
    assert.equal(1, #heard)
    assert.same({ "OK", "v", false }, { heard[1][1], heard[1][2], heard[1][3] })
    assert.matches("^ERR unknown command", heard[1][4])
    assert.same({}, heard[1][5])
  end)

  it("remembers words for people for each reply", function()
    local commands = {}
    for i = 1, 40 do commands[i] = { "ECHO", "number " .. i } end
    step(commands)
    turn_until_heard(1)
    for i = 1, 40 do
      assert.equal("ECHO number " .. i, ffi.string(C.talk_what(talk, i - 1)))
      assert.equal("number " .. i, heard[1][i])
    end
  end)

  it("goes on from inside its callback, a thousand steps long", function()
    local steps = 0
    next_step = function()
      steps = steps + 1
      if steps < 1000 then step { { "ECHO", "step " .. steps }, { "ECHO", ("x"):rep(steps) } } end
    end
    step { { "ECHO", "step 0" } }
    turn_until_heard(1000)
    for i = 2, 1000 do assert.equal("step " .. i - 1, heard[i][1]) end
    assert.is_false(C.talk_is_open(talk))
  end)

  it("keeps the replies until the next step", function()
    local kept
    next_step = function(replies) kept = replies end
    step { { "ECHO", ("long"):rep(50000) }, { "ECHO", "b" } }
    turn_until_heard(1)
    next_step = nil
    driver:ask("ECHO", ("other"):rep(50000)) -- more of the link's own traffic
    driver:turn_until_replies(1)
    assert.equal(("long"):rep(50000), redis.to_lua(kept[0]))
    assert.equal("b", redis.to_lua(kept[1]))
  end)

  it("is silent after a cancel, and may begin anew on a new link", function()
    step { { "ECHO", "never heard" } }
    C.link_close(driver.handle)
    C.talk_cancel(talk)
    assert.is_false(C.talk_is_open(talk))
    driver:turn(20)
    assert.equal(0, #heard)
    driver:open()
    driver:turn_until_up()
    step { { "ECHO", "heard" } }
    turn_until_heard(1)
    assert.same({ { "heard" } }, heard)
    C.talk_cancel(talk)
    C.talk_cancel(talk)
  end)

  it("may be destroyed while it waits, once its link is closed", function()
    step { { "ECHO", "x" } }
    C.link_close(driver.handle)
    C.talk_destroy(talk)
    driver:turn(10)
    talk = C.talk_create()
    C.talk_destroy(nil)
    assert.equal(0, #heard)
  end)
end)
