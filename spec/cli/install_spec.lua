-- make install puts the program, its pages and the annotations where they are looked for, and make uninstall takes them away.
local files = require "spec.support.files"
local process = require "spec.support.process"

local function list(folder)
  local pipe = assert(io.popen(("cd '%s' && find . -type f | sort"):format(folder)))
  local names = {}
  for name in pipe:lines() do
    if not name:find("/examples/", 1, true) then names[#names + 1] = name end
  end
  pipe:close()
  return names
end

describe("make install", function()
  it("installs all that there is, and uninstall removes it", function()
    local folder, variant = files.temp_folder(), os.getenv "VARIANT" or "release"
    local function make(target)
      local code, out, err = process.run({ "make", "--no-print-directory", target, "VARIANT=" .. variant, "DESTDIR=" .. folder,
        "PREFIX=/usr", env = { MAKEFLAGS = false, MFLAGS = false } }, 300)
      assert.equal(0, code, out .. err)
    end
    make "install"
    local usr = "./usr/share/"
    assert.same({ "./usr/bin/tidemill", usr .. "doc/tidemill/LICENSE", usr .. "doc/tidemill/README.md", usr .. "man/man1/tidemill.1",
      usr .. "man/man7/tidemill-rules.7", usr .. "tidemill/library/tidemill.lua", usr .. "tidemill/library/tidemill/redis.lua",
      usr .. "tidemill/library/tidemill/testing.lua", usr .. "tidemill/library/tidemill/window.lua" }, list(folder))
    local code, out = process.run({ folder .. "/usr/bin/tidemill", "init", folder .. "/shop" }, 20)
    assert.equal(0, code, out)
    assert.matches('["' .. folder .. '/usr/share/tidemill/library"', files.read_file(folder .. "/shop/.luarc.json"), 1, true)
    assert.equal(0, os.execute(("rm -r '%s/shop'"):format(folder)))
    make "uninstall"
    assert.same({}, list(folder))
  end)
end)
