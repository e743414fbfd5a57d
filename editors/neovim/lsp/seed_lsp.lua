return require("seed.server").config()
