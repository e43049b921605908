package wire // want package-doc "has no package comment"
