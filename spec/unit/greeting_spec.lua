local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/redis/greeting.h")

local STEP_NAMES = { [0] = "auth", "setname", "select", "info" }

local function url_of(text)
  local url, why = ffi.new("struct redis_url"), ffi.new("struct error")
  assert(C.redis_url_parse(text, url, why) == 0, ffi.string(why.text))
  return url
end

-- The commands of a greeting, and the names of its steps.
local function greet(text, name)
  local out, steps = ffi.new("struct buf"), ffi.new("enum greeting_step[4]")
  local count = C.greeting_append(url_of(text), name, out, steps)
  local bytes, names = header.text(out), {}
  C.buf_fini(out)
  for i = 0, count - 1 do
    names[i + 1] = STEP_NAMES[tonumber(steps[i])]
  end
  local commands = bytes:gsub("%*%d+\r\n", "|"):gsub("%$%d+\r\n", ""):gsub("\r\n", " "):gsub(" |",
    "|")
  return commands, table.concat(names, " ")
end

local CODES = { [tonumber(C.ERROR_FATAL_REPLY)] = "fatal", [tonumber(C.ERROR_REPLY)] = "later" }

-- Judges an answer: "fine" with the version, or "fatal" or "later" with the sentence.
local function judge(step, type_name, text, url)
  local reply, version = ffi.new("struct reply"), ffi.new("uint32_t[1]")
  local why = ffi.new("struct error")
  reply.type, reply.text, reply.len = C["REPLY_" .. type_name], text, #text
  local code = C.greeting_judge(url_of(url or "redis://h"), C["GREETING_" .. step], reply, version,
    why)
  if code == 0 then
    return "fine", version[0]
  end
  return CODES[code], ffi.string(why.text)
end

local function refused(kind, words, ...)
  local got, why = judge(...)
  assert.equal(kind, got)
  assert.truthy(why:find(words, 1, true), why)
  assert.falsy(why:find("hunter2", 1, true), "the password is shown: " .. why)
end

describe("the greeting", function()
  it("says who we are and asks for the version", function()
    local commands, steps = greet("redis://h", "tidemill:commit")
    assert.equal("|CLIENT SETNAME tidemill:commit|INFO server ", commands)
    assert.equal("setname info", steps)
  end)

  it("gives password, user and database where the URL has them", function()
    local commands, steps = greet("redis://ann:pw@h/3", "me")
    assert.equal("|AUTH ann pw|CLIENT SETNAME me|SELECT 3|INFO server ", commands)
    assert.equal("auth setname select info", steps)
    assert.equal("|AUTH pw|INFO server ", (greet("redis://:pw@h")))
    assert.equal("|AUTH ann |INFO server ", (greet("redis://ann@h", "")))
  end)

  it("reads the version", function()
    assert.same({ "fine", 0x07000f }, { judge("INFO", "STRING",
      "# Server\r\nredis_version:7.0.15\r\nx:1\r\n") })
    assert.same({ "fine", 0x060205 }, { judge("INFO", "STRING", "redis_version:6.2.5\r\n") })
    assert.same({ "fine", 0x080000 }, { judge("INFO", "STRING", "redis_version:8.0-rc1\r\n") })
  end)

  it("refuses a Redis that is too old, with the version found", function()
    refused("fatal", "version 6.2.4", "INFO", "STRING", "redis_version:6.2.4\r\n")
    refused("fatal", "6.2.5 or newer", "INFO", "STRING", "redis_version:5.0.14\r\n")
    refused("fatal", "does not tell its redis_version", "INFO", "STRING", "# Server\r\n")
    refused("fatal", "does not tell its redis_version", "INFO", "STATUS", "OK")
  end)

  it("names the cure for a wrong, missing or needless password", function()
    local url = "redis://ann:hunter2@h"
    refused("fatal", "password of user 'ann'", "AUTH", "ERROR", "WRONGPASS invalid", url)
    refused("fatal", "asks for none", "AUTH", "ERROR",
      "ERR AUTH <password> called without any password configured "
      .. "for the default user. Are you sure your configuration is correct?", "redis://:hunter2@h")
    refused("fatal", "asks for a password and the URL has none", "SETNAME", "ERROR",
      "NOAUTH Authentication required.")
    refused("fatal", "asks for a password and the URL has none", "INFO", "ERROR",
      "NOAUTH Authentication required.")
  end)

  it("names the ACL rule for a permission that is missing, and does without its name", function()
    refused("fatal", "ACL SETUSER ann +info", "INFO", "ERROR", "NOPERM no", "redis://ann:hunter2@h")
    refused("fatal", "ACL SETUSER default +info", "INFO", "ERROR", "NOPERM no")
    refused("fatal", "ACL SETUSER ann +select", "SELECT", "ERROR", "NOPERM no",
      "redis://ann:hunter2@h/1")
    assert.equal("fine", (judge("SETNAME", "ERROR", "NOPERM no")))
    assert.equal("fine", (judge("SETNAME", "ERROR", "ERR unknown command `CLIENT`")))
  end)

  it("refuses a database that is not there, and INFO by another name", function()
    refused("fatal", "no database 99", "SELECT", "ERROR", "ERR DB index is out of range",
      "redis://h/99")
    refused("fatal", "does not know INFO", "INFO", "ERROR", "ERR unknown command `INFO`, with args")
    refused("fatal", "protected mode", "SETNAME", "ERROR",
      "DENIED Redis is running in protected mode")
  end)

  it("comes back later where waiting helps", function()
    for _, step in ipairs { "AUTH", "SETNAME", "SELECT", "INFO" } do
      for _, text in ipairs { "LOADING Redis is loading", "BUSY Redis is busy",
        "MASTERDOWN Link with MASTER is down",
        "ERR max number of clients reached" } do
        refused("later", text, step, "ERROR", text)
      end
    end
  end)
end)
